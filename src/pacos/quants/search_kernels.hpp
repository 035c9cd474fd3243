/* search_kernels.hpp: the searches of quants/search.py, LANES groups at a time, in the compilers' own vector language.
   Every lane adds in order of the group's weights, as numpy does there, so the bits are the same on every instruction
   set. Included once by each file of an instruction set, which defines PACOS_LANES and PACOS_ISA.

   Shapes: G groups of n weights, x and weights [G, n] f32; scales and minimums [G] f32, codes [G, n] u8. */
#include "search.hpp"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using pacos::search::kGroupMax;

constexpr int32_t LANES = PACOS_LANES;
constexpr float kTiny = 1e-15f;  // groups that stay below this are stored as zeros

typedef float F __attribute__((vector_size(4 * LANES)));
typedef int32_t I __attribute__((vector_size(4 * LANES)));

inline F splat(float value) { return F{} + value; }

// Where the mask is set a, elsewhere b; no branch, and no number is looked at.
inline F choose(I mask, F a, F b) {
#if defined(__AVX__)
  return (F)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)mask);
#endif
  I x, y;
  __builtin_memcpy(&x, &a, sizeof x);
  __builtin_memcpy(&y, &b, sizeof y);
  x = (x & mask) | (y & ~mask);
  __builtin_memcpy(&a, &x, sizeof a);
  return a;
}

inline bool any(I mask) {
#if defined(__AVX__)
  return _mm256_movemask_ps((__m256)mask) != 0;
#else
  int32_t found = 0;
  for (int32_t l = 0; l < LANES; ++l) found |= mask[l];
  return found != 0;
#endif
}

inline F magnitude(F x) {
  I bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  bits &= 0x7fffffff;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

// The nearest whole number within low and high; NaN becomes low.
inline F whole(F x, float low, float high) {
#if defined(__AVX__)
  x = (F)_mm256_min_ps(_mm256_max_ps((__m256)x, (__m256)splat(low)), (__m256)splat(high));
#else
  x = choose(x > low, x, splat(low));
  x = choose(x < high, x, splat(high));
#endif
  return (x + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
}

// a / b, zero where b is.
inline F ratio(F a, F b) {
  const I zero = b == 0.0f;
  return choose(zero, F{}, a / choose(zero, splat(1.0f), b));
}

// Weights of LANES groups from group `first` on, beside each other; groups behind the last are zeros.
inline void gather(const float* from, int64_t first, int64_t groups, int32_t n, F* to) {
  for (int32_t i = 0; i < n; ++i) to[i] = F{};
  for (int32_t l = 0; l < LANES && first + l < groups; ++l) {
    const float* row = from + (first + l) * n;
    for (int32_t i = 0; i < n; ++i) to[i][l] = row[i];
  }
}

inline void scatter(F values, int64_t first, int64_t groups, float* to) {
  for (int32_t l = 0; l < LANES && first + l < groups; ++l) to[first + l] = values[l];
}

// Codes of LANES groups, `above` zero, to their rows.
inline void scatter_codes(const F* codes, float above, int64_t first, int64_t groups, int32_t n, uint8_t* to) {
  for (int32_t i = 0; i < n; ++i) {
    for (int32_t l = 0; l < LANES && first + l < groups; ++l) {
      to[(first + l) * n + i] = static_cast<uint8_t>(codes[i][l] + above);
    }
  }
}

struct Affine {
  F scale, offset;
};

inline F error_of(const F* x, const F* w, const F* codes, int32_t n, Affine by, bool absolute) {
  F sum{};
  for (int32_t i = 0; i < n; ++i) {
    const F miss = by.scale * codes[i] + by.offset - x[i];
    sum += w[i] * (absolute ? magnitude(miss) : miss * miss);
  }
  return sum;
}

inline Affine affine(const F* x, const F* w, int32_t n, const pacos::search::Grid& grid, F* kept) {
  const float top = static_cast<float>(grid.top);
  F low = x[0], high = x[0], sum_w = w[0], sum_x = sum_w * x[0];
  for (int32_t i = 1; i < n; ++i) {
    low = choose(x[i] < low, x[i], low);
    high = choose(x[i] > high, x[i], high);
    sum_w += w[i];
    sum_x += w[i] * x[i];
  }
  low = choose(low > 0.0f, F{}, low);
  const I flat = high <= low;
  F codes[kGroupMax];
  const auto codes_at = [&](float reach, F offset) {
    const F width = high - offset;
    const F inverse = reach / choose(width > 0.0f, width, splat(1.0f));
    for (int32_t i = 0; i < n; ++i) codes[i] = whole(inverse * (x[i] - offset), 0.0f, top);
    return inverse;
  };
  const F inverse = codes_at(top, low);
  Affine best{1.0f / inverse, low};
  for (int32_t i = 0; i < n; ++i) kept[i] = choose(flat, F{}, codes[i]);
  F least = error_of(x, w, codes, n, best, grid.absolute);
  for (int32_t step = 0; step <= grid.steps; ++step) {
    codes_at(grid.first + grid.step * static_cast<float>(step) + top, best.offset);
    F sum_l{}, sum_l2{}, sum_xl{};
    for (int32_t i = 0; i < n; ++i) {
      const F wl = w[i] * codes[i];
      sum_l += wl;
      sum_l2 += wl * codes[i];
      sum_xl += wl * x[i];
    }
    const F det = sum_w * sum_l2 - sum_l * sum_l;
    Affine found{ratio(sum_w * sum_xl - sum_x * sum_l, det), ratio(sum_l2 * sum_x - sum_l * sum_xl, det)};
    const I above = found.offset > 0.0f;
    found.scale = choose(above, ratio(sum_xl, sum_l2), found.scale);
    found.offset = choose(above, F{}, found.offset);
    const F error = error_of(x, w, codes, n, found, grid.absolute);
    const I better = (error < least) & (det > 0.0f) & ~flat;
    least = choose(better, error, least);
    best.scale = choose(better, found.scale, best.scale);
    best.offset = choose(better, found.offset, best.offset);
    for (int32_t i = 0; i < n && any(better); ++i) kept[i] = choose(better, codes[i], kept[i]);
  }
  best.scale = choose(flat, F{}, best.scale);
  return best;
}

void scale_and_minimum(const float* x, const float* weights, int64_t groups, int32_t n, pacos::search::Grid grid,
                       float* scales, float* minimums, uint8_t* codes) {
  F xs[kGroupMax], ws[kGroupMax], kept[kGroupMax];
  for (int64_t at = 0; at < groups; at += LANES) {
    gather(x, at, groups, n, xs);
    gather(weights, at, groups, n, ws);
    const Affine found = affine(xs, ws, n, grid, kept);
    scatter(found.scale, at, groups, scales);
    scatter(F{} - found.offset, at, groups, minimums);  // no -0
    scatter_codes(kept, 0.0f, at, groups, n, codes);
  }
}

// The first weight of the largest magnitude.
inline F peak_of(const F* x, int32_t n) {
  F peak{}, most{};
  for (int32_t i = 0; i < n; ++i) {
    const I more = magnitude(x[i]) > most;
    peak = choose(more, x[i], peak);
    most = choose(more, magnitude(x[i]), most);
  }
  return peak;
}

inline F best_signed(const F* x, const F* weights, int32_t n, float half, F* kept) {
  const F peak = peak_of(x, n);
  const I small = magnitude(peak) < kTiny;
  const F unit = choose(small, splat(1.0f), peak);
  F scale{}, best{}, codes[kGroupMax], wx[kGroupMax];
  for (int32_t i = 0; i < n; ++i) wx[i] = weights[i] * x[i];
  for (int32_t turn = 0; turn < 19; ++turn) {
    const int32_t step = turn == 0 ? 0 : turn <= 9 ? turn - 10 : turn - 9;  // 0, then -9 to -1, then 1 to 9
    const F inverse = -(half + 0.1f * static_cast<float>(step)) / unit;
    F xl{}, l2{};
    for (int32_t i = 0; i < n; ++i) {
      const F w = weights[i];
      codes[i] = whole(inverse * x[i], -half, half - 1.0f);
      xl += wx[i] * codes[i];
      l2 += w * codes[i] * codes[i];
    }
    const I better = step == 0 ? l2 > 0.0f : (l2 > 0.0f) & (xl * xl > best * l2);
    const F found = ratio(xl, l2);
    scale = choose(better, found, scale);
    best = choose(better, found * xl, best);
    const I taken = step == 0 ? I{} - 1 : better;
    for (int32_t i = 0; i < n && any(taken); ++i) kept[i] = choose(taken, codes[i], kept[i]);
  }
  for (int32_t i = 0; i < n; ++i) kept[i] = choose(small, splat(-half), kept[i]);
  return choose(small, F{}, scale);
}

inline F refined(const F* x, const F* weights, int32_t n, float half, F* codes) {
  const F peak = peak_of(x, n);
  const I small = magnitude(peak) < kTiny;
  const F inverse = -half / choose(small, splat(1.0f), peak);
  F xl{}, l2{};
  for (int32_t i = 0; i < n; ++i) {
    const F w = weights[i];
    codes[i] = whole(inverse * x[i], -half, half - 1.0f);
    xl += w * x[i] * codes[i];
    l2 += w * codes[i] * codes[i];
  }
  I active = I{} - 1;
  for (int32_t turn = 0; turn < 5 && any(active); ++turn) {
    I changed{};
    for (int32_t i = 0; i < n; ++i) {
      const F w = weights[i], wx = w * x[i], old = codes[i];
      const F rest_xl = xl - wx * old, rest_l2 = l2 - w * old * old;
      const F fresh = whole(ratio(x[i] * rest_l2, rest_xl), -half, half - 1.0f);
      const F new_xl = rest_xl + wx * fresh, new_l2 = rest_l2 + w * fresh * fresh;
      const I better = active & (rest_xl > 0.0f) & (fresh != old) & (new_l2 > 0.0f) &
                       (new_xl * new_xl * l2 > xl * xl * new_l2);
      codes[i] = choose(better, fresh, old);
      xl = choose(better, new_xl, xl);
      l2 = choose(better, new_l2, l2);
      changed |= better;
    }
    active = changed;
  }
  for (int32_t i = 0; i < n; ++i) codes[i] = choose(small, splat(-half), codes[i]);
  return choose(small, F{}, ratio(xl, l2));
}

// A negative number as ggml's bytes hold it.
inline F as_byte(F x) { return choose(x < 0.0f, x + 256.0f, x); }

inline F best_positive(const F* x, const F* weights, int32_t n, float top, F* codes) {
  F high{};
  for (int32_t i = 0; i < n; ++i) high = choose(x[i] > high, x[i], high);
  const I small = high < kTiny;
  const F unit = choose(small, splat(1.0f), high);
  F inverse = top / unit, least{};
  const F first = 1.0f / inverse;
  for (int32_t i = 0; i < n; ++i) {
    const F miss = x[i] - first * as_byte(whole(inverse * x[i], -255.0f, top));
    least += weights[i] * miss * miss;
  }
  for (int32_t step = -4; step <= 4; ++step) {
    if (step == 0) continue;
    const F tried = (0.1f * static_cast<float>(step) + top) / unit, scale = 1.0f / tried;
    F error{};
    for (int32_t i = 0; i < n; ++i) {
      const F miss = x[i] - scale * whole(tried * x[i], -255.0f, top);
      error += weights[i] * miss * miss;
    }
    const I better = error < least;
    least = choose(better, error, least);
    inverse = choose(better, tried, inverse);
  }
  F xl{}, l2{};
  for (int32_t i = 0; i < n; ++i) {
    const F code = whole(inverse * x[i], -255.0f, top);
    xl += weights[i] * x[i] * code;
    l2 += weights[i] * code * code;
    codes[i] = as_byte(code);
  }
  I active = I{} - 1;
  for (int32_t turn = 0; turn < 5 && any(active); ++turn) {
    I changed{};
    for (int32_t i = 0; i < n; ++i) {
      const F w = weights[i], old = codes[i];
      const F rest_xl = xl - w * x[i] * old, rest_l2 = l2 - w * old * old;
      const F fresh = whole(ratio(x[i] * rest_l2, rest_xl), -255.0f, top);
      const F new_xl = rest_xl + w * x[i] * fresh, new_l2 = rest_l2 + w * fresh * fresh;
      const I better = active & (rest_xl > 0.0f) & (rest_l2 > 0.0f) & (fresh != old) &
                       (new_xl * new_xl * l2 > xl * xl * new_l2);
      codes[i] = choose(better, as_byte(fresh), old);
      xl = choose(better, new_xl, xl);
      l2 = choose(better, new_l2, l2);
      changed |= better;
    }
    active = changed;
  }
  for (int32_t i = 0; i < n; ++i) codes[i] = choose(small, F{}, codes[i]);
  return choose(small, F{}, choose(l2 > 0.0f, ratio(xl, l2), F{}));
}

// `reach` is half the number of codes, which are stored above zero, or, of Positive ones, the largest code.
template <F (*Search)(const F*, const F*, int32_t, float, F*), bool Positive = false>
void scales_of(const float* x, const float* weights, int64_t groups, int32_t n, int32_t reach, float* scales,
               uint8_t* codes) {
  F xs[kGroupMax], ws[kGroupMax], kept[kGroupMax];
  for (int64_t at = 0; at < groups; at += LANES) {
    gather(x, at, groups, n, xs);
    if (weights != nullptr) gather(weights, at, groups, n, ws);
    for (int32_t i = 0; weights == nullptr && i < n; ++i) ws[i] = xs[i] * xs[i];
    scatter(Search(xs, ws, n, static_cast<float>(reach), kept), at, groups, scales);
    scatter_codes(kept, Positive ? 0.0f : static_cast<float>(reach), at, groups, n, codes);
  }
}

void level_scale(const float* x, const float* weights, int64_t groups, int32_t n, const float* levels, int32_t count,
                 int32_t tries, float* scales) {
  F xs[kGroupMax], ws[kGroupMax];
  for (int64_t at = 0; at < groups; at += LANES) {
    gather(x, at, groups, n, xs);
    gather(weights, at, groups, n, ws);
    const F peak = peak_of(xs, n);
    const I small = magnitude(peak) < kTiny;
    const F unit = choose(small, splat(1.0f), peak);
    F scale{}, best{};
    for (int32_t turn = -tries - 1; turn <= tries; ++turn) {
      const bool first = turn < -tries;
      const F inverse = first ? 1.0f / (-unit / levels[0]) : (static_cast<float>(turn) + levels[0]) / unit;
      F match{}, norm{};
      for (int32_t i = 0; i < n; ++i) {
        const F wanted = inverse * xs[i];
        F near = splat(levels[0]);
        for (int32_t k = 1; k < count; ++k)
          near = choose(wanted >= (levels[k] + levels[k - 1]) / 2.0f, splat(levels[k]), near);
        match += ws[i] * near * xs[i];
        norm += ws[i] * near * near;
      }
      const I better = first ? norm > 0.0f : (norm > 0.0f) & (match * match > best * norm);
      const F found = ratio(match, norm);
      scale = choose(better, found, scale);
      best = choose(better, found * match, best);
    }
    scatter(choose(small, F{}, scale), at, groups, scales);
  }
}

}  // namespace

#include "grid_kernels.hpp"
#include "quants/packing.hpp"

namespace {

constexpr pacos::search::Kernels kernels{scale_and_minimum, scales_of<best_signed>, scales_of<refined>,
                                         scales_of<best_positive, true>, level_scale, on_grid, ternary,
                                         pacos::PACOS_ISA::pack<>, pacos::PACOS_ISA::all_finite};

}  // namespace
