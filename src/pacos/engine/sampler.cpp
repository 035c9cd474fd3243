// Sampling: one call chooses the next token from one row of logits. The numpy definition is ir/ops/sampling.py; the two
// agree bit for bit, on every platform, because exp and log are built from additions and products in a fixed order, and
// because weights are rounded so that their sums are exact: partial selection and blocks change no result.
//
// Shapes: V vocabulary entries, N candidates still in play, in ascending order of their ids. Everything runs on the
// caller's thread.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>

#include "native/pacos.h"
#include "repeats.hpp"
#include "sampler_rows.hpp"

namespace {

using namespace pacos::sampling;

constexpr float kFloatMax = std::numeric_limits<float>::max();  // FLT_MAX: zig's macOS headers may hide it
constexpr int32_t kNotFinite = -1;  // a logit is NaN or +inf
constexpr int32_t kNoToken = -2;    // every candidate is banned
constexpr int32_t kBadToken = -3;   // a token id outside the vocabulary
constexpr int32_t kNoneAllowed = -4;
constexpr int32_t kNoMemory = -5;
constexpr double kLn2 = 0.693147180559945309417;
constexpr int32_t kSortedTopK = 1024;  // more are found by bins
constexpr int32_t kBins = 2048;
constexpr int32_t kMirostatTokens = 100;

enum Stage : int32_t {
    kPenalties, kTopK, kTypical, kTopP, kMinP, kTemperature, kDry, kTopNSigma, kXtc, kTailFree, kTopA, kAdaptive
};

const RowKernels& row_kernels() {
#if defined(__x86_64__)
    static const RowKernels& best = pacos_cpu_isa("avx2") != nullptr ? rows_avx2 : rows_baseline;
    return best;
#else
    return rows_baseline;
#endif
}

// ---- numbers ----

// e to the x, as at the nearer end outside of -700 to 700. Taylor series of degree 13 after reduction by powers of two.
double power_of_e(double x) {
    constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number
    x = std::min(std::max(x, -700.0), 700.0);
    const double k = (x * 1.4426950408889634 + magic) - magic;
    const double r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0, factorial = 6227020800.0;
    for (int n = 12; n >= 0; --n) {
        factorial /= n + 1;  // exact: 12!, 11!, ...
        p = p * r + 1.0 / factorial;
    }
    return std::ldexp(p, static_cast<int>(k));
}

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

// Philox4x32-10 (Salmon et al., SC11): a uniform number in [0, 1) that depends on seed, position and stream alone.
double uniform(uint64_t seed, uint64_t position, uint32_t stream) {
    uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
    uint32_t c[4] = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), stream, 0};
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

// A distance and a place as one number that sorts by distance, then by place.
uint64_t key_of(float far, int32_t place) {
    return static_cast<uint64_t>(std::bit_cast<uint32_t>(far)) << 32 | static_cast<uint32_t>(place);
}
float reach_of(double distance) { return static_cast<float>(std::min(distance, static_cast<double>(kFloatMax))); }
int32_t place_of(uint64_t key) { return static_cast<int32_t>(key & 0xFFFFFFFFu); }

// What is added to a weight and taken away again to round it, so that sums of V have at most 53 bits.
double step_of(int32_t vocab) { return static_cast<double>(std::bit_floor(static_cast<uint32_t>(vocab))); }

// ---- working memory ----

struct Scratch {
    double* weights;  // [V]
    uint64_t* keys;   // [V]
    double* sums;     // [V / 1024 + 1]
    float* x;         // [V]
    float* far;       // [V]
    float* maxima;    // [V / 128 + 1]
    int32_t* ids;     // [V]
    int32_t* counts;  // [V], zero between calls
};

struct Carver {
    uintptr_t place;
    template <class T>
    void take(T*& part, int32_t count) {
        part = reinterpret_cast<T*>(place);
        place += (static_cast<uintptr_t>(count) * sizeof(T) + 63) / 64 * 64;
    }
};

// The parts of the memory; where they end.
uintptr_t carve(uintptr_t memory, int32_t vocab, Scratch& s) {
    Carver carver = {memory};
    carver.take(s.weights, vocab);
    carver.take(s.keys, vocab);
    carver.take(s.sums, vocab / kSumsBlock + 1);
    carver.take(s.x, vocab);
    carver.take(s.far, vocab);
    carver.take(s.maxima, vocab / kMaximaBlock + 1);
    carver.take(s.ids, vocab);
    carver.take(s.counts, vocab);
    return carver.place;
}

// ---- candidates ----

// The candidates: logits x [n] of tokens ids [n], or of all tokens while ids is null. -inf is one that was dropped.
struct Row {
    const float* x;
    const int32_t* ids;
    int32_t n;
    float best;
    bool measured;  // `maxima` are those of x
};

class Chain {
public:
    Chain(const pacos_sampling& options, int32_t vocab, Scratch scratch, Row row, uint64_t position)
        : o(options), s(scratch), k(row_kernels()), step(step_of(vocab)), vocab_(vocab), position_(position), row(row) {}

    const pacos_sampling& o;
    Scratch s;
    const RowKernels& k;
    double step;

private:
    int32_t vocab_;
    uint64_t position_;

public:
    Row row;

    bool measure() {
        row.measured = true;
        const bool finite = k.scan(row.x, row.n, s.maxima, &row.best);
        row.best += 0.0f;  // of -0 makes 0, so that no distance is -0
        return finite;
    }

    float far(int32_t place) const { return row.best - row.x[place]; }
    int32_t id(int32_t place) const { return row.ids == nullptr ? place : row.ids[place]; }
    double total() { return k.sum(row.x, row.n, row.best, step, s.sums); }

    int32_t alive() const {
        int32_t count = 0;
        for (int32_t i = 0; i < row.n; ++i) count += row.x[i] > -INFINITY ? 1 : 0;
        return count;
    }

    float* own() {
        if (row.x != s.x) {
            std::memcpy(s.x, row.x, sizeof(float) * static_cast<size_t>(row.n));
            row.x = s.x;
        }
        return s.x;
    }

    void keep_within(float reach) {
        row.n = k.gather(row.x, row.ids, row.n, row.best, reach, row.measured ? s.maxima : nullptr, s.x, s.ids);
        row.x = s.x;
        row.ids = s.ids;
        row.measured = false;
    }

    template <class Keep>  // called with ascending places
    void keep_places(Keep keep) {
        int32_t count = 0;
        for (int32_t i = 0; i < row.n; ++i) {
            if (!keep(i)) continue;
            const int32_t token = id(i);
            s.x[count] = row.x[i];
            s.ids[count++] = token;
        }
        row = {s.x, s.ids, count, row.best, false};
    }

    // Keys of the `count` nearest candidates, nearest first, into s.keys; how many there are.
    int32_t nearest(int32_t count) {
        float reach = INFINITY;
        const int32_t blocks = (row.n + kMaximaBlock - 1) / kMaximaBlock;
        if (count < blocks) {  // that many blocks, so that many candidates, reach as far as the worst of the best maxima
            if (!row.measured) measure();
            std::memcpy(s.far, s.maxima, sizeof(float) * static_cast<size_t>(blocks));
            std::nth_element(s.far, s.far + (count - 1), s.far + blocks, std::greater<float>());
            reach = row.best - s.far[count - 1];
        }
        int32_t found = 0;
        for (int32_t start = 0; start < row.n; start += kMaximaBlock) {
            if (reach < INFINITY && row.best - s.maxima[start / kMaximaBlock] > reach) continue;
            const int32_t end = std::min(row.n, start + kMaximaBlock);
            for (int32_t i = start; i < end; ++i)
                if (far(i) <= reach && row.x[i] > -INFINITY) s.keys[found++] = key_of(far(i), i);
        }
        if (found > count) {
            std::nth_element(s.keys, s.keys + count, s.keys + found);
            found = count;
        }
        std::sort(s.keys, s.keys + found);
        return found;
    }

    // Keep the shortest prefix, in order of s.far and then of places, whose weights reach `needed` (or exceed it) and
    // that has min_keep candidates. Weights null: they do not matter. The candidates are a list without dropped ones.
    void keep_prefix(const double* weights, double needed, bool exceed, int32_t min_keep) {
        double bin_weights[kBins] = {};
        int32_t bin_counts[kBins] = {};
        float farthest = 0.0f;
        for (int32_t i = 0; i < row.n; ++i) farthest = s.far[i] < INFINITY ? std::max(farthest, s.far[i]) : farthest;
        const float scale = farthest > 0.0f ? (kBins - 1) / farthest : 0.0f;
        const auto bin_of = [&](int32_t i) {
            const float bin = s.far[i] * scale;
            return bin < kBins - 1 ? static_cast<int32_t>(bin) : kBins - 1;
        };
        for (int32_t i = 0; i < row.n; ++i) {
            const int32_t bin = bin_of(i);
            bin_weights[bin] += weights == nullptr ? 0.0 : weights[i];
            bin_counts[bin] += 1;
        }
        const auto enough = [&](double sum, int32_t count) {
            return count >= std::max(min_keep, 1) && (weights == nullptr || (exceed ? sum > needed : sum >= needed));
        };
        double sum = 0.0;
        int32_t count = 0, cut = 0;
        while (cut < kBins && !enough(sum + bin_weights[cut], count + bin_counts[cut])) {
            sum += bin_weights[cut];
            count += bin_counts[cut];
            ++cut;
        }
        if (cut == kBins) return;
        int32_t found = 0;
        for (int32_t i = 0; i < row.n; ++i)
            if (bin_of(i) == cut) s.keys[found++] = key_of(s.far[i], i);
        std::sort(s.keys, s.keys + found);
        uint64_t last = s.keys[found - 1];
        for (int32_t j = 0; j < found; ++j) {
            sum += weights == nullptr ? 0.0 : weights[place_of(s.keys[j])];
            if (!enough(sum, ++count)) continue;
            last = s.keys[j];
            break;
        }
        keep_places([&](int32_t i) { return key_of(s.far[i], i) <= last; });
    }

    void fill_far() {
        for (int32_t i = 0; i < row.n; ++i) s.far[i] = far(i);
    }

    // ---- stages ----

    void top_k(int32_t count) {
        if (count <= 0 || count >= row.n) return;
        if (count > kSortedTopK) {
            keep_within(INFINITY);
            fill_far();
            keep_prefix(nullptr, 0.0, false, count);
            return;
        }
        const int32_t found = nearest(count);
        std::sort(s.keys, s.keys + found, [](uint64_t a, uint64_t b) { return place_of(a) < place_of(b); });
        for (int32_t j = 0; j < found; ++j) {
            const int32_t place = place_of(s.keys[j]), token = id(place);
            s.x[j] = row.x[place];
            s.ids[j] = token;
        }
        row = {s.x, s.ids, found, row.best, false};
    }

    void top_p(float p) {
        if (p >= 1.0f) return;
        const double sum = total(), needed = static_cast<double>(p) * sum;
        // Candidates beyond `reach` weigh less than 1 - p together, even if all n were there.
        const double least = (1.0 - static_cast<double>(p)) * sum / row.n;
        const bool bounded = least * 4503599627370496.0 > 1024.0 * step;
        const float reach = bounded ? reach_of(0.01 - logarithm(least)) : INFINITY;
        if (bounded && o.min_keep > 1 && count_within(reach) < o.min_keep) {
            keep_within(INFINITY);
        } else {
            keep_within(reach);
        }
        fill_far();
        k.weigh(row.x, row.n, row.best, step, s.weights);
        keep_prefix(s.weights, needed, false, o.min_keep);
    }

    int32_t count_within(float reach) const {
        int32_t count = 0;
        for (int32_t i = 0; i < row.n; ++i) count += far(i) <= reach ? 1 : 0;
        return count;
    }

    void min_p(float p) {
        if (p <= 0.0f) return;
        const float reach = reach_of(-logarithm(p));
        if (o.min_keep > 1 && count_within(reach) < o.min_keep) {
            top_k(o.min_keep);
        } else {
            keep_within(reach);
        }
    }

    double entropy(double sum) { return k.sum_products(row.x, row.n, row.best, step) / sum + logarithm(sum); }

    void typical(float p) {
        if (p >= 1.0f) return;
        const double sum = total(), offset = logarithm(sum) - entropy(sum);
        keep_within(INFINITY);
        for (int32_t i = 0; i < row.n; ++i) {
            s.far[i] = static_cast<float>(std::fabs(static_cast<double>(far(i)) + offset));
        }
        k.weigh(row.x, row.n, row.best, step, s.weights);
        keep_prefix(s.weights, static_cast<double>(p) * sum, true, o.min_keep);
        measure();
    }

    void top_n_sigma(float n) {
        if (n <= 0.0f) return;
        const int32_t count = alive();
        double lanes[8] = {};
        for (int32_t i = 0; i < row.n; ++i) lanes[id(i) & 7] += row.x[i] > -INFINITY ? static_cast<double>(row.x[i]) : 0.0;
        const double mean = joined(lanes) / count;
        double squares[8] = {};
        for (int32_t i = 0; i < row.n; ++i) {
            const double off = row.x[i] > -INFINITY ? static_cast<double>(row.x[i]) - mean : 0.0;
            squares[id(i) & 7] += off * off;
        }
        keep_within(reach_of(n * std::sqrt(joined(squares) / count)));
    }

    static double joined(const double* lanes) {
        return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
    }

    void top_a(float a) {
        if (a > 0.0f) keep_within(reach_of(logarithm(total() / static_cast<double>(a))));
    }

    void tail_free(float z) {
        if (z >= 1.0f) return;
        const int32_t count = nearest(row.n);
        if (count <= 2) return;
        k.weigh(row.x, row.n, row.best, step, s.weights);
        const auto bend = [&](int32_t j) {
            const double a = s.weights[place_of(s.keys[j])], b = s.weights[place_of(s.keys[j + 1])];
            return std::fabs((s.weights[place_of(s.keys[j + 2])] - b) - (b - a));
        };
        double sum = 0.0, reached = 0.0;
        for (int32_t j = 0; j + 2 < count; ++j) sum += bend(j);
        for (int32_t j = 0; j + 2 < count; ++j) {
            reached += bend(j);
            if (!(reached > static_cast<double>(z) * sum)) continue;
            top_k(std::max({j, o.min_keep, 1}));
            return;
        }
    }

    void xtc() {
        if (o.xtc_probability <= 0.0f || o.xtc_threshold > 0.5f) return;
        if (uniform(o.seed, position_, 1) >= static_cast<double>(o.xtc_probability)) return;
        const double threshold = o.xtc_threshold;
        const float reach = threshold > 0.0 ? reach_of(-logarithm(threshold * total())) : kFloatMax;
        int32_t count = 0;
        uint64_t last = 0;
        for (int32_t i = 0; i < row.n; ++i) {
            if (!(far(i) <= reach)) continue;
            ++count;
            last = std::max(last, key_of(far(i), i));
        }
        if (count < 2 || alive() - (count - 1) < o.min_keep) return;
        keep_places([&](int32_t i) { return !(far(i) <= reach) || key_of(far(i), i) == last; });
        measure();
    }

    void temperature(float temp, float spread, float exponent) {
        if (temp > 0.0f && spread > 0.0f) {
            const int32_t count = alive();
            if (count < 2) return;
            const double share = std::min(entropy(total()) / logarithm(count), 1.0);
            const double raised =
                share > 0.0 ? power_of_e(static_cast<double>(exponent) * logarithm(share)) : exponent == 0.0f ? 1.0 : 0.0;
            const double middle = temp, width = spread, low = std::max(0.0, middle - width);
            temp = static_cast<float>(low + (middle + width - low) * raised);
        }
        if (temp <= 0.0f) {
            top_k(1);
            return;
        }
        k.divide(row.x, row.n, temp, s.x);
        row.x = s.x;
        measure();
    }

    // Change the logits of tokens that s.counts holds, all of them in the window, and zero it again.
    template <class Change>
    void change(const int32_t* window, int32_t size, Change change) {
        float* x = own();
        if (row.ids != nullptr) {
            for (int32_t i = 0; i < row.n; ++i)
                if (s.counts[row.ids[i]] != 0) x[i] = change(x[i], s.counts[row.ids[i]]);
        }
        for (int32_t i = 0; i < size; ++i) {
            const int32_t token = window[i], count = s.counts[token];
            s.counts[token] = 0;
            if (count != 0 && row.ids == nullptr) x[token] = change(x[token], count);
        }
        measure();
    }

    void penalties(const int32_t* tokens, int32_t count) {
        if (!penalties_active(o)) return;
        const int32_t size = o.repeat_last_n < 0 ? count : std::min(count, o.repeat_last_n);
        const int32_t* window = tokens + (count - size);
        for (int32_t i = 0; i < size; ++i) s.counts[window[i]] += 1;
        change(window, size, [&](float x, int32_t seen) { return penalised(o, x, seen); });
    }

    bool dry(const int32_t* tokens, int32_t count) {
        if (!dry_active(o)) return true;
        const int32_t size = o.dry_penalty_last_n < 0 ? count : std::min(count, o.dry_penalty_last_n);
        const int32_t* window = tokens + (count - size);
        if (!count_runs(o, window, size, s.counts)) return false;
        change(window, size, [&](float x, int32_t run) { return shortened(o, x, run - 1); });
        return true;
    }

    // ---- the last step ----

    void mirostat(double mu) {
        if (o.mirostat == 2) {
            const float reach = reach_of(mu * kLn2 - logarithm(total()));
            if (reach >= 0.0f) {
                keep_within(reach);
            } else {
                top_k(1);
            }
            return;
        }
        const int32_t count = nearest(std::min(row.n, kMirostatTokens));
        if (count < 2) return;
        double products = 0.0, squares = 0.0;
        for (int32_t j = 0; j + 1 < count; ++j) {
            const double a = std::min(far(place_of(s.keys[j])), 80.0f), b = std::min(far(place_of(s.keys[j + 1])), 80.0f);
            const double t = logarithm((j + 2.0) / (j + 1.0));
            products += t * (b - a);
            squares += t * t;
        }
        const double slope = products / squares, size = logarithm(vocab_);
        if (slope <= 0.0) return;
        const double excess = slope - 1.0, wanted = power_of_e(std::min(std::max(mu * kLn2, -300.0), 300.0));
        const double below = 1.0 - power_of_e(-excess * size);
        const double ratio = below == 0.0 ? wanted / size : excess * wanted / below;
        top_k(std::max(static_cast<int32_t>(power_of_e(std::min(logarithm(ratio) / slope, size))), 1));
    }

    // s.weights stay those before.
    double approach_target(const double* state) {
        const double target = std::min(std::max(2.0 * static_cast<double>(o.adaptive_target) - state[0] / state[1], 0.0), 1.0);
        k.weigh(row.x, row.n, row.best, step, s.weights);
        const double sum = total();
        float* x = own();
        for (int32_t i = 0; i < row.n; ++i) {
            if (x[i] == -INFINITY) continue;
            const double off = std::fabs(s.weights[i] / sum - target) / 0.3;
            x[i] = static_cast<float>(5.0 - 10.0 * off * off / (1.0 + off));
        }
        measure();
        return sum;
    }

    // The place of the drawn candidate, and the sum of all weights.
    int32_t choose(double* sum) {
        double weights[kSumsBlock];
        *sum = total();
        const double target = uniform(o.seed, position_, 0) * *sum;
        const int32_t blocks = (row.n + kSumsBlock - 1) / kSumsBlock;
        int32_t block = 0, last = 0;
        double reached = 0.0;
        for (; block < blocks && reached + s.sums[block] <= target; ++block) {
            reached += s.sums[block];
            if (s.sums[block] > 0.0) last = block;
        }
        const bool rounded_up = block == blocks;  // the product is the sum: the last one that has a weight
        const int32_t start = (rounded_up ? last : block) * kSumsBlock, size = std::min(row.n - start, kSumsBlock);
        k.weigh(row.x + start, size, row.best, step, weights);
        int32_t chosen = start;
        for (int32_t i = 0; i < size; ++i) {
            if (weights[i] == 0.0) continue;
            reached += weights[i];
            chosen = start + i;
            if (!rounded_up && reached > target) break;
        }
        return chosen;
    }

    bool run(int32_t stage, const int32_t* tokens, int32_t count) {
        const bool truncates = stage != kPenalties && stage != kDry;
        if (o.mirostat != 0 && truncates) return true;
        switch (stage) {
            case kPenalties: penalties(tokens, count); break;
            case kDry: return dry(tokens, count);
            case kTopNSigma: top_n_sigma(o.top_n_sigma); break;
            case kTopK: top_k(o.top_k); break;
            case kTailFree: tail_free(o.tfs_z); break;
            case kTypical: typical(o.typical_p); break;
            case kTopP: top_p(o.top_p); break;
            case kMinP: min_p(o.min_p); break;
            case kTopA: top_a(o.top_a); break;
            case kXtc: xtc(); break;
            case kTemperature: temperature(o.temp, o.dynatemp_range, o.dynatemp_exponent); break;
        }
        return true;
    }

    void report(pacos_sampling_report& out, int32_t chosen, double sum) {
        const double log_sum = logarithm(sum);
        out.chosen_log = -static_cast<double>(far(chosen)) - log_sum;
        if (out.kept_ids != nullptr) {
            k.weigh(row.x, row.n, row.best, step, s.weights);
            out.kept_count = 0;
            for (int32_t i = 0; i < row.n; ++i) {
                if (row.x[i] == -INFINITY) continue;
                out.kept_ids[out.kept_count] = id(i);
                out.kept_weights[out.kept_count++] = s.weights[i];
            }
        }
        out.top_count = out.top_count > 0 ? nearest(std::min(out.top_count, row.n)) : 0;
        for (int32_t j = 0; j < out.top_count; ++j) {
            out.top_ids[j] = id(place_of(s.keys[j]));
            out.top_logs[j] = -static_cast<double>(far(place_of(s.keys[j]))) - log_sum;
        }
    }
};

bool adapts(const pacos_sampling& o) {
    return o.mirostat == 0 && o.adaptive_target >= 0.0f && std::count(o.stages, o.stages + o.stage_count, kAdaptive) > 0;
}

// Whether greedy asks for the best candidate of the row as it is: no stage would change which one that is.
bool plain_greedy(const pacos_sampling& o) {
    if (o.temp > 0.0f) return false;
    return std::none_of(o.stages, o.stages + o.stage_count, [&](int32_t stage) {
        switch (stage) {
            case kPenalties: return penalties_active(o);
            case kDry: return dry_active(o);
            case kTypical: return o.typical_p < 1.0f && o.mirostat == 0;
            case kXtc: return o.xtc_probability > 0.0f && o.mirostat == 0;
            default: return false;  // the others never drop the best candidate
        }
    });
}

// The candidates that the mask allows: a list where they are few, else a copy of the row without the others.
Row masked(const float* logits, int32_t vocab, const uint32_t* mask, Scratch s) {
    const int32_t words = (vocab + 31) / 32;
    const auto word_of = [&](int32_t w) {
        return w == words - 1 && vocab % 32 != 0 ? mask[w] & ((1u << vocab % 32) - 1) : mask[w];
    };
    int32_t allowed = 0;
    for (int32_t w = 0; w < words; ++w) allowed += std::popcount(word_of(w));
    if (allowed > 0 && allowed >= vocab / 8) {
        for (int32_t w = 0; w < words; ++w) {
            const uint32_t word = word_of(w);
            const int32_t start = 32 * w, size = std::min(32, vocab - start);
            if (word == 0xFFFFFFFFu) {
                std::memcpy(s.x + start, logits + start, 32 * sizeof(float));
                continue;
            }
            for (int32_t i = 0; i < size; ++i) s.x[start + i] = (word >> i & 1) != 0 ? logits[start + i] : -INFINITY;
        }
        return {s.x, nullptr, vocab, -INFINITY, false};
    }
    int32_t count = 0;
    for (int32_t w = 0; w < words; ++w) {
        for (uint32_t word = word_of(w); word != 0; word &= word - 1) {
            s.ids[count] = 32 * w + std::countr_zero(word);
            s.x[count] = logits[s.ids[count]];
            ++count;
        }
    }
    return {s.x, s.ids, count, -INFINITY, false};
}

void add_biases(const pacos_sampling& o, Chain& chain) {
    float* x = chain.own();
    const int32_t* ids = chain.row.ids;
    for (int32_t i = 0; i < o.bias_count; ++i) {
        int32_t place = o.bias_ids[i];
        if (ids != nullptr) {
            const int32_t* found = std::lower_bound(ids, ids + chain.row.n, place);
            if (found == ids + chain.row.n || *found != place) continue;
            place = static_cast<int32_t>(found - ids);
        }
        x[place] += o.bias_values[i];
    }
}

// Turn to a position: the state before it is the one after the position before, or, asked again, what it was.
void turn_to(const pacos_sampling& o, pacos_sampling_state& state, int64_t position) {
    if (state.position < 0) {
        const double decay = o.adaptive_decay;
        state.after[0] = o.mirostat != 0 ? 2.0 * static_cast<double>(o.mirostat_tau)
                                         : static_cast<double>(o.adaptive_target) / (1.0 - decay);
        state.after[1] = o.mirostat != 0 ? 0.0 : 1.0 / (1.0 - decay);
    }
    if (state.position != position) std::memcpy(state.before, state.after, sizeof state.before);
    state.position = position;
    std::memcpy(state.after, state.before, sizeof state.before);
}

int32_t place_of_best(const Chain& chain) {
    int32_t block = 0;
    while (chain.s.maxima[block] != chain.row.best) ++block;
    return static_cast<int32_t>(std::find(chain.row.x + block * kMaximaBlock, chain.row.x + chain.row.n, chain.row.best) -
                                chain.row.x);
}

}  // namespace

extern "C" int64_t pacos_sample_scratch_bytes(int32_t vocab) {
    Scratch scratch;
    return static_cast<int64_t>(carve(0, vocab, scratch));
}

extern "C" int32_t pacos_sample(const pacos_sampling* options, const float* logits, int32_t vocab, const int32_t* tokens,
                                int32_t token_count, const uint32_t* mask, pacos_sampling_state* state, void* memory,
                                pacos_sampling_report* report) {
    const pacos_sampling& o = *options;
    Scratch scratch;
    carve(reinterpret_cast<uintptr_t>(memory), vocab, scratch);
    if (o.bias_count > 0 && (o.bias_ids[0] < 0 || o.bias_ids[o.bias_count - 1] >= vocab)) return kBadToken;
    const Row row = mask != nullptr ? masked(logits, vocab, mask, scratch) : Row{logits, nullptr, vocab, -INFINITY, false};
    if (row.n == 0) return kNoneAllowed;
    Chain chain(o, vocab, scratch, row, static_cast<uint64_t>(token_count));
    if (o.bias_count > 0) add_biases(o, chain);
    if (!chain.measure()) return kNotFinite;
    if (chain.row.best == -INFINITY) return kNoToken;
    if (report == nullptr && plain_greedy(o)) return chain.id(place_of_best(chain));
    for (int32_t i = 0; i < o.stage_count; ++i) {
        if (!chain.run(o.stages[i], tokens, token_count)) return kNoMemory;
        if (chain.row.best == -INFINITY) return kNoToken;
    }
    if (o.mirostat != 0 || o.temp <= 0.0f) chain.temperature(o.temp, 0.0f, 1.0f);
    turn_to(o, *state, token_count);
    double before = 0.0, sum;
    const bool adaptive = adapts(o);
    if (o.mirostat != 0) chain.mirostat(state->before[0]);
    if (adaptive) before = chain.approach_target(state->before);
    const int32_t chosen = chain.choose(&sum);
    if (o.mirostat != 0) {
        const double bits = (static_cast<double>(chain.far(chosen)) + logarithm(sum)) / kLn2;
        state->after[0] = state->before[0] - static_cast<double>(o.mirostat_eta) * (bits - static_cast<double>(o.mirostat_tau));
    }
    if (adaptive) {
        const double decay = o.adaptive_decay;
        state->after[0] = chain.s.weights[chosen] / before + decay * state->before[0];
        state->after[1] = 1.0 + decay * state->before[1];
    }
    const int32_t token = chain.id(chosen);
    if (report != nullptr) chain.report(*report, chosen, sum);
    return token;
}

extern "C" void pacos_sample_rows(const pacos_sampling_row* rows, int32_t count, int32_t vocab, void* scratch, int32_t* out) {
    for (int32_t i = 0; i < count; ++i) {
        const pacos_sampling_row& row = rows[i];
        out[i] = pacos_sample(row.options, row.logits, vocab, row.tokens, static_cast<int32_t>(row.token_count), nullptr,
                              row.state, scratch, nullptr);
    }
}

extern "C" int32_t pacos_log_softmax_at(const float* logits, int32_t vocab, const int32_t* ids, int32_t count, double* out) {
    const RowKernels& k = row_kernels();
    float best = -INFINITY, block_best, maxima[64];
    constexpr int32_t piece = 64 * kMaximaBlock;
    for (int32_t start = 0; start < vocab; start += piece) {
        if (!k.scan(logits + start, std::min(piece, vocab - start), maxima, &block_best)) return kNotFinite;
        best = std::max(best, block_best);
    }
    if (best == -INFINITY) return kNoToken;
    double sum = 0.0, sums[piece / kSumsBlock];
    for (int32_t start = 0; start < vocab; start += piece) {
        sum += k.sum(logits + start, std::min(piece, vocab - start), best, step_of(vocab), sums);
    }
    const double log_sum = logarithm(sum);
    for (int32_t n = 0; n < count; ++n) {
        if (ids[n] < 0 || ids[n] >= vocab) return kBadToken;
        out[n] = -static_cast<double>(best - logits[ids[n]]) - log_sum;
    }
    return 0;
}

extern "C" int32_t pacos_score(const float* logits, int32_t vocab, int32_t token, int32_t count, void* memory,
                               int32_t* top_ids, double* out) {
    if (token < 0 || token >= vocab) return kBadToken;
    Scratch scratch;
    carve(reinterpret_cast<uintptr_t>(memory), vocab, scratch);
    const pacos_sampling none = {};
    Chain chain(none, vocab, scratch, {logits, nullptr, vocab, -INFINITY, false}, 0);
    if (!chain.measure()) return kNotFinite;
    if (chain.row.best == -INFINITY) return kNoToken;
    const double sum = chain.total();
    pacos_sampling_report report = {nullptr, nullptr, top_ids, out + 1, 0.0, 0, count};
    chain.report(report, token, sum);
    out[0] = report.chosen_log;
    return report.top_count;
}
