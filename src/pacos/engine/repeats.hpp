/* repeats.hpp: penalties for what the text holds already; ir/ops/repeats.py defines them. */
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <new>

#include "native/pacos.h"

namespace pacos::sampling {

inline bool penalties_active(const pacos_sampling& o) {
    return o.repeat_last_n != 0 && (o.repeat_penalty != 1.0f || o.frequency_penalty != 0.0f || o.presence_penalty != 0.0f);
}

inline bool dry_active(const pacos_sampling& o) {
    return o.dry_multiplier != 0.0f && o.dry_base >= 1.0f && o.dry_penalty_last_n != 0;
}

// A logit after the penalties for a token that was seen `count` times.
inline float penalised(const pacos_sampling& o, double logit, int32_t count) {
    constexpr double most = std::numeric_limits<float>::max();
    const double repeat = o.repeat_penalty;
    logit = logit <= 0.0 ? logit * repeat : logit / repeat;
    logit = logit - (count * static_cast<double>(o.frequency_penalty) + static_cast<double>(o.presence_penalty));
    if (logit < -most) return -INFINITY;
    return static_cast<float>(std::min(logit, most));
}

// A logit after DRY, for a token that would prolong a run of `run` tokens.
inline float shortened(const pacos_sampling& o, float logit, int32_t run) {
    constexpr double most = std::numeric_limits<float>::max();
    if (logit == -INFINITY) return logit;
    double square = o.dry_base, power = 1.0;
    for (int32_t exponent = run - o.dry_allowed_length; exponent != 0; exponent >>= 1) {
        if ((exponent & 1) != 0) power = power * square;
        square = square * square;
    }
    return static_cast<float>(std::max(logit - std::min(o.dry_multiplier * power, most), -most));
}

// Token sequences that end a run: number i begins with heads[i], ascending, and goes on with tails[starts[i]] and
// after, up to starts[i + 1].
class Breakers {
public:
    explicit Breakers(const pacos_sampling& o) : o_(o) {}

    // Length of the longest one that lies at `at` in the text; 0 when there is none.
    int32_t longest(const int32_t* at, const int32_t* end) const {
        int32_t best = 0;
        for (int32_t i = first(*at); i < o_.breaker_count && o_.breaker_heads[i] == *at; ++i) {
            const int32_t* tail = o_.breaker_tails + o_.breaker_starts[i];
            const int32_t size = o_.breaker_starts[i + 1] - o_.breaker_starts[i];
            if (size + 1 <= best || size + 1 > end - at || !std::equal(tail, tail + size, at + 1)) continue;
            best = size + 1;
        }
        return best;
    }

    bool is_single(int32_t token) const {
        for (int32_t i = first(token); i < o_.breaker_count && o_.breaker_heads[i] == token; ++i)
            if (o_.breaker_starts[i] == o_.breaker_starts[i + 1]) return true;
        return false;
    }

private:
    int32_t first(int32_t token) const {
        const int32_t* end = o_.breaker_heads + o_.breaker_count;
        return static_cast<int32_t>(std::lower_bound(o_.breaker_heads, end, token) - o_.breaker_heads);
    }

    const pacos_sampling& o_;
};

// Put 1 + the length of the longest repeated run that a token would prolong into counts[token], for each token after a
// run of the allowed length or more; 0 for single breakers. `tokens` [size] is the window. False: out of memory.
inline bool count_runs(const pacos_sampling& o, const int32_t* tokens, int32_t size, int32_t* counts) {
    const int32_t allowed = o.dry_allowed_length;
    if (size <= allowed) return true;
    const Breakers breakers(o);
    const int32_t* end = tokens + size;
    int32_t limit = size;
    for (int32_t back = 1; back <= size; ++back) {
        const int32_t length = breakers.longest(end - back, end);
        if (length == 0) continue;
        limit = back - length;
        break;
    }
    if (limit < allowed) return true;
    // The Z function of the reversed text: runs[k] is how far it agrees with itself when shifted by k.
    int32_t* runs = new (std::nothrow) int32_t[static_cast<size_t>(size)];
    if (runs == nullptr) return false;
    for (int32_t k = 1, left = 0, right = 0; k < size; ++k) {
        int32_t run = k < right ? std::min(right - k, runs[k - left]) : 0;
        while (k + run < size && end[-1 - run] == end[-1 - run - k]) ++run;
        runs[k] = run;
        if (k + run > right) {
            left = k;
            right = k + run;
        }
        const int32_t token = end[-k];
        if (std::min(run, limit) >= allowed) counts[token] = std::max(counts[token], 1 + std::min(run, limit));
    }
    delete[] runs;
    for (int32_t i = 0; i < size; ++i)
        if (counts[tokens[i]] != 0 && breakers.is_single(tokens[i])) counts[tokens[i]] = 0;
    return true;
}

}  // namespace pacos::sampling
