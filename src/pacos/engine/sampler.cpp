// Sampling: one call chooses the next token from one row of logits. The numpy definition is ir/ops/sampling.py; the two
// agree bit for bit, on every platform, because exp and log are built here from additions and products in a fixed order.
//
// Shapes: V vocabulary entries, N candidates still in play. Everything runs on the caller's thread.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "native/pacos.h"

namespace {

constexpr float kFloatMax = std::numeric_limits<float>::max();  // FLT_MAX: zig's macOS headers may hide it
constexpr int32_t kNotFinite = -1;  // a logit is NaN or +inf
constexpr int32_t kNoToken = -2;    // every candidate is banned
constexpr int32_t kBadToken = -3;   // a token id outside the vocabulary
constexpr int32_t kHeapLimit = 1024;

enum Stage : int32_t { kPenalties = 0, kTopK = 1, kTypical = 2, kTopP = 3, kMinP = 4, kTemperature = 5 };

struct Candidate {
    double logit;
    double weight;
    int32_t id;
};

// What the stages work on. While `dense` is not null the candidates are all V entries of that row and the list is unset.
struct Candidates {
    const float* dense;
    Candidate* list;
    int32_t n;
};

struct Scratch {
    Candidate* list;  // [V]
    float* row;       // [V]
    int32_t* counts;  // [V], zero between calls
};

Scratch carve(void* memory, int32_t vocab) {
    auto* list = static_cast<Candidate*>(memory);
    auto* row = reinterpret_cast<float*>(list + vocab);
    return {list, row, reinterpret_cast<int32_t*>(row + vocab)};
}

// Descending logit, then ascending id: a total order, so every sort gives one answer.
bool before(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// Vectors of the baseline instruction sets; the compilers' own extension, so that one source serves all of them.
typedef float Float4 __attribute__((vector_size(16)));
typedef double Double2 __attribute__((vector_size(16)));
typedef uint64_t Bits2 __attribute__((vector_size(16)));

// e to the x for x <= 0, within 1 ulp; 0 below -708. Taylor series of degree 13 after reduction by powers of two.
inline Double2 exponential(Double2 x) {
    constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number
    const Double2 clamped = x < -708.0 ? Double2{-708.0, -708.0} : x;
    const Double2 shifted = clamped * 1.4426950408889634 + magic;
    const Double2 k = shifted - magic;
    const Double2 r = (clamped - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;
    Double2 p = r * (1.0 / 6227020800.0) + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    const Bits2 power = ((Bits2)shifted + 1023) << 52;  // the low bits of `shifted` are k
    return x < -708.0 ? Double2{0.0, 0.0} : p * (Double2)power;
}

inline double exponential(double x) { return exponential(Double2{x, x})[0]; }

// Natural logarithm of a positive normal number: twice the area tangent's series in (m - 1) / (m + 1).
double logarithm(double x) {
    int exponent;
    double m = std::frexp(x, &exponent);
    if (m < 0.70710678118654752440) {
        m = m * 2.0;
        exponent -= 1;
    }
    const double s = (m - 1.0) / (m + 1.0);
    const double q = s * s;
    double p = 0.0;
    for (int odd = 25; odd >= 1; odd -= 2) p = p * q + 1.0 / odd;
    return exponent * 0.693147180369123816490 + (2.0 * s * p + exponent * 1.90821492927058770002e-10);
}

// Philox4x32-10 (Salmon et al., SC11): a uniform number in [0, 1) that depends on the seed and the position alone.
double uniform(uint64_t seed, uint64_t position) {
    uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
    uint32_t c[4] = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0};
    for (int round = 0; round < 10; ++round) {
        const uint64_t a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
        const uint32_t next[4] = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ key0, static_cast<uint32_t>(b),
                                  static_cast<uint32_t>(a >> 32) ^ c[3] ^ key1, static_cast<uint32_t>(a)};
        std::memcpy(c, next, sizeof c);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return ((c[0] >> 5) * 67108864.0 + (c[1] >> 6)) * (1.0 / 9007199254740992.0);
}

// Largest logit and its first index; false when a logit is NaN or +inf.
bool largest(const float* row, int32_t vocab, float* value, int32_t* index) {
    constexpr int32_t block = 1024, lanes = 4;
    float best = -INFINITY;
    int32_t best_start = -1;
    for (int32_t start = 0; start < vocab; start += block) {
        const int32_t end = std::min(vocab, start + block);
        Float4 lane[lanes], zero[lanes] = {};  // zero times a number that is not finite is NaN, and stays
        std::fill(lane, lane + lanes, Float4{} - INFINITY);
        int32_t i = start;
        for (; i + 4 * lanes <= end; i += 4 * lanes) {
            for (int l = 0; l < lanes; ++l) {
                Float4 x;
                std::memcpy(&x, row + i + 4 * l, sizeof x);
                lane[l] = x > lane[l] ? x : lane[l];
                zero[l] += x * 0.0f;
            }
        }
        for (; i < end; ++i) {
            lane[0][0] = row[i] > lane[0][0] ? row[i] : lane[0][0];
            zero[0][0] += row[i] * 0.0f;
        }
        float top = -INFINITY, still = 0.0f;
        for (int l = 0; l < 4 * lanes; ++l) {
            top = std::max(top, lane[l / 4][l % 4]);
            still += zero[l / 4][l % 4];
        }
        if (still != 0.0f && !std::all_of(row + start, row + end, [](float x) { return x <= kFloatMax; })) return false;
        if (top > best) {
            best = top;
            best_start = start;
        }
    }
    *value = best;
    *index = best_start < 0 ? -1 : static_cast<int32_t>(std::find(row + best_start, row + vocab, best) - row);
    return true;
}

void make_list(Candidates& c, Scratch scratch) {
    if (c.dense == nullptr) return;
    for (int32_t i = 0; i < c.n; ++i) scratch.list[i] = {c.dense[i], 0.0, i};
    c.list = scratch.list;
    c.dense = nullptr;
}

// The k best of a row by one scan over a heap whose top is the worst kept.
int32_t select_heap(const float* row, int32_t vocab, int32_t k, Candidate* heap) {
    for (int32_t i = 0; i < k; ++i) heap[i] = {row[i], 0.0, i};
    std::make_heap(heap, heap + k, before);
    float worst = static_cast<float>(heap[0].logit);
    int32_t i = k;
    auto take = [&](int32_t id) {
        if (!(row[id] > worst)) return;
        std::pop_heap(heap, heap + k, before);
        heap[k - 1] = {row[id], 0.0, id};
        std::push_heap(heap, heap + k, before);
        worst = static_cast<float>(heap[0].logit);
    };
    for (; i + 16 <= vocab; i += 16) {
        Float4 x[4];
        std::memcpy(x, row + i, sizeof x);
        const auto above = ((x[0] > worst) | (x[1] > worst)) | ((x[2] > worst) | (x[3] > worst));
        if ((above[0] | above[1] | above[2] | above[3]) == 0) continue;
        for (int l = 0; l < 16; ++l) take(i + l);
    }
    for (; i < vocab; ++i) take(i);
    std::sort(heap, heap + k, before);
    return k;
}

void top_k(Candidates& c, Scratch scratch, int32_t k) {
    if (k <= 0) return;
    k = std::min(k, c.n);
    if (c.dense != nullptr && k <= kHeapLimit) {
        select_heap(c.dense, c.n, k, scratch.list);
        c.list = scratch.list;
        c.dense = nullptr;
    } else {
        make_list(c, scratch);
        if (k < c.n) std::nth_element(c.list, c.list + k, c.list + c.n, before);
        std::sort(c.list, c.list + k, before);
    }
    c.n = k;
}

double largest_logit(const Candidates& c) {
    double best = -INFINITY;
    for (int32_t i = 0; i < c.n; ++i) best = std::max(best, c.list[i].logit);
    return best;
}

// Weights exp(logit - largest) of the list and their sum in order; 0 when every candidate is banned.
double weigh(Candidates& c) {
    const double best = largest_logit(c);
    if (best == -INFINITY) return 0.0;
    double sum = 0.0;
    int32_t i = 0;
    for (; i + 2 <= c.n; i += 2) {
        const Double2 pair = exponential(Double2{c.list[i].logit - best, c.list[i + 1].logit - best});
        c.list[i].weight = pair[0];
        c.list[i + 1].weight = pair[1];
    }
    if (i < c.n) c.list[i].weight = exponential(c.list[i].logit - best);
    for (i = 0; i < c.n; ++i) sum += c.list[i].weight;
    return sum;
}

void top_p(Candidates& c, Scratch scratch, float p) {
    if (p >= 1.0f) return;
    make_list(c, scratch);
    const double needed = static_cast<double>(p) * weigh(c);
    int32_t sorted = 0;
    double sum = 0.0;
    for (int32_t i = 0; i < c.n; ++i) {
        if (i == sorted) {  // sort only as far as the sum needs: 256, 2048, 16384, ...
            sorted = std::min(c.n, sorted == 0 ? 256 : sorted * 8);
            if (sorted < c.n) std::nth_element(c.list + i, c.list + sorted, c.list + c.n, before);
            std::sort(c.list + i, c.list + sorted, before);
        }
        sum += c.list[i].weight;
        if (sum >= needed) {
            c.n = i + 1;
            return;
        }
    }
}

void min_p(Candidates& c, Scratch scratch, float p) {
    if (p <= 0.0f) return;
    make_list(c, scratch);
    const double least = largest_logit(c) + logarithm(p);
    Candidate* end = std::remove_if(c.list, c.list + c.n, [=](const Candidate& one) { return one.logit < least; });
    c.n = static_cast<int32_t>(end - c.list);
}

// Source: arXiv:2202.00666; a candidate's weight is replaced by its distance from the entropy while it sorts.
void typical(Candidates& c, Scratch scratch, float p) {
    if (p >= 1.0f) return;
    make_list(c, scratch);
    const double sum = weigh(c);
    if (sum == 0.0) return;
    const double best = largest_logit(c), log_sum = logarithm(sum);
    double entropy = 0.0;
    for (int32_t i = 0; i < c.n; ++i) {
        const Candidate& one = c.list[i];
        if (one.weight > 0.0) entropy -= one.weight / sum * ((one.logit - best) - log_sum);
    }
    for (int32_t i = 0; i < c.n; ++i) {
        c.list[i].weight = std::fabs(((c.list[i].logit - best) - log_sum) + entropy);
    }
    std::sort(c.list, c.list + c.n, [](const Candidate& a, const Candidate& b) {
        return a.weight < b.weight || (a.weight == b.weight && a.id < b.id);
    });
    const double needed = static_cast<double>(p) * sum;
    double taken = 0.0;
    for (int32_t i = 0; i < c.n; ++i) {
        taken += exponential(c.list[i].logit - best);
        if (taken > needed) {
            c.n = i + 1;
            return;
        }
    }
}

void temperature(Candidates& c, Scratch scratch, float temp) {
    make_list(c, scratch);
    if (temp <= 0.0f) {
        c.list[0] = *std::min_element(c.list, c.list + c.n, before);
        c.n = 1;
        return;
    }
    for (int32_t i = 0; i < c.n; ++i) c.list[i].logit = c.list[i].logit / static_cast<double>(temp);
}

double penalised(const pacos_sampling& o, double logit, int32_t count) {
    const double repeat = o.repeat_penalty;
    logit = logit <= 0.0 ? logit * repeat : logit / repeat;
    const double fall = count * static_cast<double>(o.frequency_penalty) + static_cast<double>(o.presence_penalty);
    logit = logit - fall;
    if (logit < -kFloatMax) return -INFINITY;
    return static_cast<double>(static_cast<float>(std::min(logit, static_cast<double>(kFloatMax))));
}

bool penalties_active(const pacos_sampling& o) {
    return o.repeat_last_n != 0 && (o.repeat_penalty != 1.0f || o.frequency_penalty != 0.0f || o.presence_penalty != 0.0f);
}

// Lower what the last tokens hold. A dense row stays dense: its scratch copy changes, once per distinct token.
void penalties(const pacos_sampling& o, Candidates& c, Scratch scratch, const int32_t* tokens, int32_t count) {
    if (!penalties_active(o)) return;
    const int32_t first = o.repeat_last_n < 0 ? 0 : std::max(0, count - o.repeat_last_n);
    for (int32_t i = first; i < count; ++i) scratch.counts[tokens[i]] += 1;
    if (c.dense != nullptr && c.dense != scratch.row) {
        std::memcpy(scratch.row, c.dense, sizeof(float) * static_cast<size_t>(c.n));
        c.dense = scratch.row;
    }
    if (c.dense == nullptr) {
        for (int32_t i = 0; i < c.n; ++i) {
            const int32_t seen = scratch.counts[c.list[i].id];
            if (seen != 0) c.list[i].logit = penalised(o, c.list[i].logit, seen);
        }
    }
    for (int32_t i = first; i < count; ++i) {
        const int32_t seen = scratch.counts[tokens[i]];
        scratch.counts[tokens[i]] = 0;
        if (seen != 0 && c.dense != nullptr) {
            scratch.row[tokens[i]] = static_cast<float>(penalised(o, scratch.row[tokens[i]], seen));
        }
    }
}

int32_t choose(Candidates& c, Scratch scratch, uint64_t seed, uint64_t position) {
    make_list(c, scratch);
    const double sum = weigh(c);
    if (sum == 0.0) return kNoToken;
    const double target = uniform(seed, position) * sum;
    double reached = 0.0;
    int32_t last = kNoToken;
    for (int32_t i = 0; i < c.n; ++i) {
        if (c.list[i].weight == 0.0) continue;
        reached += c.list[i].weight;
        last = c.list[i].id;
        if (reached > target) return last;
    }
    return last;  // the product rounded up to the sum
}

bool changes(const pacos_sampling& o, int32_t stage) {
    switch (stage) {
        case kPenalties: return penalties_active(o);
        case kTypical: return o.typical_p < 1.0f;
        default: return false;  // the others never drop the best candidate
    }
}

// Greedy asks for the best candidate of the row as it is: no stage would change which one that is.
bool plain_greedy(const pacos_sampling& o) {
    if (o.temp > 0.0f) return false;
    for (int32_t i = 0; i < o.stage_count; ++i)
        if (changes(o, o.stages[i])) return false;
    return true;
}

void run_stage(int32_t stage, const pacos_sampling& o, Candidates& c, Scratch s, const int32_t* tokens, int32_t count) {
    switch (stage) {
        case kPenalties: penalties(o, c, s, tokens, count); break;
        case kTopK: top_k(c, s, o.top_k); break;
        case kTypical: typical(c, s, o.typical_p); break;
        case kTopP: top_p(c, s, o.top_p); break;
        case kMinP: min_p(c, s, o.min_p); break;
        case kTemperature: temperature(c, s, o.temp); break;
    }
}

}  // namespace

extern "C" int64_t pacos_sample_scratch_bytes(int32_t vocab) {
    return static_cast<int64_t>(vocab) * static_cast<int64_t>(sizeof(Candidate) + sizeof(float) + sizeof(int32_t));
}

extern "C" int32_t pacos_sample(const pacos_sampling* options, const float* logits, int32_t vocab, const int32_t* tokens,
                                int32_t token_count, void* memory, int32_t* kept_ids, double* kept_weights,
                                int32_t* kept_count) {
    const pacos_sampling& o = *options;
    float best;
    int32_t best_id;
    if (!largest(logits, vocab, &best, &best_id)) return kNotFinite;
    Scratch scratch = carve(memory, vocab);
    Candidates c = {logits, nullptr, vocab};
    if (o.bias_count > 0) {
        std::memcpy(scratch.row, logits, sizeof(float) * static_cast<size_t>(vocab));
        for (int32_t i = 0; i < o.bias_count; ++i) {
            if (o.bias_ids[i] < 0 || o.bias_ids[i] >= vocab) return kBadToken;
            scratch.row[o.bias_ids[i]] += o.bias_values[i];
        }
        c.dense = scratch.row;
        if (!largest(c.dense, vocab, &best, &best_id)) return kNotFinite;
    }
    if (best_id < 0) return kNoToken;
    if (kept_ids == nullptr && plain_greedy(o)) return best_id;
    for (int32_t i = 0; i < o.stage_count; ++i) run_stage(o.stages[i], o, c, scratch, tokens, token_count);
    if (o.temp <= 0.0f) temperature(c, scratch, 0.0f);
    const int32_t chosen = choose(c, scratch, o.seed, static_cast<uint64_t>(token_count));
    if (kept_ids != nullptr && c.list != nullptr) {
        for (int32_t i = 0; i < c.n; ++i) {
            kept_ids[i] = c.list[i].id;
            kept_weights[i] = c.list[i].weight;
        }
        *kept_count = c.n;
    }
    return chosen;
}

extern "C" int32_t pacos_log_softmax_at(const float* logits, int32_t vocab, const int32_t* ids, int32_t count, double* out) {
    float best;
    int32_t best_id;
    if (!largest(logits, vocab, &best, &best_id)) return kNotFinite;
    if (best_id < 0) return kNoToken;
    Double2 lane[4] = {};
    int32_t i = 0;
    for (; i + 8 <= vocab; i += 8) {
        for (int l = 0; l < 4; ++l) {
            lane[l] += exponential(Double2{logits[i + 2 * l], logits[i + 2 * l + 1]} - static_cast<double>(best));
        }
    }
    for (int l = 0; i < vocab; ++i, ++l) lane[l / 2][l % 2] += exponential(static_cast<double>(logits[i]) - best);
    const Double2 halves = (lane[0] + lane[2]) + (lane[1] + lane[3]);
    const double sum = halves[0] + halves[1];
    const double log_sum = logarithm(sum);
    for (int32_t n = 0; n < count; ++n) {
        if (ids[n] < 0 || ids[n] >= vocab) return kBadToken;
        out[n] = (static_cast<double>(logits[ids[n]]) - best) - log_sum;
    }
    return 0;
}
