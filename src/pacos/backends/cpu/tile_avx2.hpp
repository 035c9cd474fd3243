/* tile_avx2.hpp: 16 rows x up to 3 columns (6 of pairs of s16) on AVX2, a panel times quantised activations.

   u8 x s8 products of small codes are summed in 16 bits for as many steps as cannot overflow; one vpmaddwd then applies
   the sub-block scale and widens to 32 bits. That leaves little more than one multiply per 32 products. Pairs of s16
   take two. */
#pragma once
#include "panel.hpp"

namespace pacos::PACOS_ISA {

template <class F>
constexpr int kTileColumns = kWide<F> ? 6 : 3;   // the accumulators fit the registers

/* Steps of four weights whose 16-bit sums cannot overflow: |a| <= 127, two products per lane and step. */
template <class F>
constexpr int safe_steps(int most) {
  int steps = 32767 / (F::top * 127 * 2);
  while (most % steps) steps--;
  return steps;
}

PACOS_INLINE __m256i four(const uint8_t* at) { return _mm256_set1_epi32(load<int32_t>(at)); }

/* t[c][h] = 16-bit sums over `steps` lines; h counts the halves of a line. */
template <int columns, int steps>
PACOS_INLINE void multiply_lines(__m256i (&t)[columns][2], const uint8_t (*lines)[64], const uint8_t* const (&codes)[columns],
                                 int64_t k) {
#pragma GCC unroll 8
  for (int s = 0; s < steps; s++) {
    __m256i u[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) u[h] = settle(_mm256_load_si256((const __m256i*)lines[s] + h));
#pragma GCC unroll 3
    for (int c = 0; c < columns; c++) {
      const __m256i a = four(codes[c] + k + 4 * s);
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++) {
        const __m256i products = _mm256_maddubs_epi16(u[h], a);
        if (s) add_to16(t[c][h], products);
        else t[c][h] = products;
      }
    }
  }
}

template <class F, int columns>
PACOS_INLINE void tile256(const Panel<F>& panel, const Columns& in, float (*acc)[16]) {
  constexpr int lines = F::sub / 4, steps = safe_steps<F>(lines);
  const uint8_t* codes[columns];
  for (int c = 0; c < columns; c++) codes[c] = in.acts + c * in.stride + in.codes;
  __m256i sum[columns][2] = {};
  for (int s = 0; s < 256 / F::sub; s++) {
    const __m256i low = _mm256_load_si256((const __m256i*)panel.scale[s]);
    const __m256i high = _mm256_load_si256((const __m256i*)panel.scale[s] + 1);
#pragma GCC unroll 8
    for (int g = 0; g < lines; g += steps) {
      __m256i t[columns][2];
      multiply_lines<columns, steps>(t, panel.codes + s * lines + g, codes, (s * lines + g) * 4);
      for (int c = 0; c < columns; c++) {
        sum[c][0] = add_pairs(sum[c][0], t[c][0], low);
        sum[c][1] = add_pairs(sum[c][1], t[c][1], high);
      }
    }
  }
  for (int c = 0; c < columns; c++) {
    const uint8_t* column = in.acts + c * in.stride;
    const __m256 scale = _mm256_set1_ps(load<float>(column + in.scale));
    for (int h = 0; h < 2; h++) {
      __m256i total = sum[c][h], corrections = _mm256_setzero_si256();
      if constexpr (F::has_min || F::bias != 0)
        for (int j = 0; j < 128 / F::sub; j++)
          corrections = add_pairs(corrections, _mm256_load_si256((const __m256i*)panel.pairs[j] + h), four(column + in.sum + 4 * j));
      if constexpr (F::bias != 0)
        total = _mm256_sub_epi32(total, _mm256_slli_epi32(corrections, __builtin_ctz(F::bias ? F::bias : 1)));
      __m256 y = _mm256_load_ps(acc[c] + 8 * h);
      y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total), _mm256_mul_ps(_mm256_load_ps(panel.d[0] + 8 * h), scale), y);
      if constexpr (F::has_min)
        y = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(corrections), _mm256_mul_ps(_mm256_load_ps(panel.m[0] + 8 * h), scale), y);
      _mm256_store_ps(acc[c] + 8 * h, y);
    }
  }
}

template <class F, int columns>
PACOS_INLINE void tile32(const Panel<F>& panel, const Columns& in, int blocks, float (*acc)[16]) {
  constexpr int steps = safe_steps<F>(8);
  const __m256i ones = _mm256_set1_epi16(1);
  const uint8_t* codes[columns];
  for (int c = 0; c < columns; c++) codes[c] = in.acts + c * in.stride + in.codes;
  for (int b = 0; b < blocks; b++) {
    __m256i sum[columns][2], t[columns][2];
#pragma GCC unroll 8
    for (int g = 0; g < 8; g += steps) {
      multiply_lines<columns, steps>(t, panel.codes + 8 * b + g, codes, 32 * b + 4 * g);
      for (int c = 0; c < columns; c++)
        for (int h = 0; h < 2; h++) {
          const __m256i wide = _mm256_madd_epi16(t[c][h], ones);
          sum[c][h] = g ? _mm256_add_epi32(sum[c][h], wide) : wide;
        }
    }
    for (int c = 0; c < columns; c++) {
      const uint8_t* column = in.acts + c * in.stride;
      const __m256 scale = _mm256_set1_ps(load<float>(column + in.scale + 4 * b));
      const __m256i total = four(column + in.sum + 4 * b);
      for (int h = 0; h < 2; h++) {
        __m256i s = sum[c][h];
        if constexpr (F::bias != 0) s = _mm256_sub_epi32(s, _mm256_slli_epi32(total, __builtin_ctz(F::bias ? F::bias : 1)));
        __m256 y = _mm256_load_ps(acc[c] + 8 * h);
        y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s), _mm256_mul_ps(_mm256_load_ps(panel.d[b] + 8 * h), scale), y);
        if constexpr (F::has_min)
          y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total), _mm256_mul_ps(_mm256_load_ps(panel.m[b] + 8 * h), scale), y);
        _mm256_store_ps(acc[c] + 8 * h, y);
      }
    }
  }
}

/* Of pairs of s16, which hold the scales of sub-blocks. */
template <class F, int columns>
PACOS_INLINE void tile_wide(const Panel<F>& panel, const Columns& in, int blocks, float (*acc)[16]) {
  constexpr int lines = F::block / 2;
  const uint8_t* codes = in.prepared;
  const uint8_t (*line)[64] = panel.codes;
  for (int b = 0; b < blocks; b++) {
    __m256i sum[columns][2];
    const auto multiply = [&](bool first) PACOS_INLINED {
      const __m256i low = settle(_mm256_load_si256((const __m256i*)*line)), high = settle(_mm256_load_si256((const __m256i*)*line + 1));
#pragma GCC unroll 6
      for (int c = 0; c < columns; c++) {
        const __m256i a = four(codes + c * kPreparedBytes<F>);
        if (first) {
          sum[c][0] = _mm256_madd_epi16(low, a), sum[c][1] = _mm256_madd_epi16(high, a);
        } else {
          add_to32(sum[c][0], _mm256_madd_epi16(low, a));
          add_to32(sum[c][1], _mm256_madd_epi16(high, a));
        }
      }
      line++, codes += 4;
    };
    multiply(true);
    for (int i = 1; i < lines; i++) multiply(false);
#pragma GCC unroll 6
    for (int c = 0; c < columns; c++) {
      const __m256 scale = _mm256_set1_ps(load<float>(in.acts + c * in.stride + in.scale + 4 * b));
      for (int h = 0; h < 2; h++) {
        const __m256 d = _mm256_mul_ps(_mm256_load_ps(panel.d[b] + 8 * h), scale), y = _mm256_load_ps(acc[c] + 8 * h);
        _mm256_store_ps(acc[c] + 8 * h, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[c][h]), d, y));
      }
    }
    __asm__("" ::: "memory");   // or a compiler keeps acc in memory twice
  }
}

}  // namespace pacos::PACOS_ISA
