/* tile_rows.hpp: 16 rows x some columns, a panel times quantised activations, for instruction sets that multiply four
   bytes and add them into 32 bits in one step (AVX-512 VNNI, NEON dot products) and for plain C++.

   The instruction set gives Ints16 with dot_line, add_scaled, add_s16_pairs, and F32x16 with its conversions. */
#pragma once
#include "panel.hpp"

namespace pacos::PACOS_ISA {

/* Columns three by three from one pointer each, so that addresses need few registers. */
template <int columns>
struct ColumnPointers {
  const uint8_t* third[(columns + 2) / 3];
  int64_t stride;

  PACOS_INLINE ColumnPointers make(const uint8_t* first, int64_t stride) {
    ColumnPointers p{{}, stride};
    for (int c = 0; c < columns; c += 3) p.third[c / 3] = first + c * stride;
    return p;
  }
  inline __attribute__((always_inline)) const uint8_t* at(int c) const { return third[c / 3] + c % 3 * stride; }
};

template <class F, int columns>
PACOS_INLINE void tile256(const Panel<F>& panel, const Columns& in, float (*acc)[16]) {
  constexpr int lines = F::sub / 4;
  auto codes = ColumnPointers<columns>::make(in.acts + in.codes, in.stride);
  Ints16 sum[columns];
#pragma GCC unroll 12
  for (int c = 0; c < columns; c++) sum[c] = zero_ints();
  for (int s = 0; s < 256 / F::sub; s++) {
    Ints16 t[columns];
#pragma GCC unroll 12
    for (int c = 0; c < columns; c++) t[c] = zero_ints();
#pragma GCC unroll 8
    for (int i = 0; i < lines; i++) {
      const Line line = load_line(panel.codes[s * lines + i]);
#pragma GCC unroll 12
      for (int c = 0; c < columns; c++) t[c] = dot_line(t[c], line, codes.at(c) + 4 * i);
    }
    const Ints16 scale = load_ints(panel.scale[s]);
#pragma GCC unroll 12
    for (int c = 0; c < columns; c++) sum[c] = add_scaled(sum[c], t[c], scale);
    for (auto& pointer : codes.third) pointer += F::sub;
  }
#pragma GCC unroll 12
  for (int c = 0; c < columns; c++) {
    const uint8_t* column = in.acts + c * in.stride;
    Ints16 corrections = zero_ints();
    if constexpr (F::has_min || F::bias != 0)
      for (int j = 0; j < 128 / F::sub; j++)
        corrections = add_s16_pairs(corrections, load_ints(panel.pairs[j]), load<int32_t>(column + in.sum + 4 * j));
    const F32x16 scale = splat16(load<float>(column + in.scale));
    F32x16 y = load_f32(acc[c]);
    y = fma16(to_float16(F::bias ? subtract_shifted<__builtin_ctz(F::bias ? F::bias : 1)>(sum[c], corrections) : sum[c]),
              mul16(load_f32(panel.d[0]), scale), y);
    if constexpr (F::has_min) y = fma16(to_float16(corrections), negate16(mul16(load_f32(panel.m[0]), scale)), y);
    store16(acc[c], y);
  }
}

template <class F, int columns>
PACOS_INLINE void tile32(const Panel<F>& panel, const Columns& in, int blocks, float (*acc)[16]) {
  static_assert(Panel<F>::planes == 1);
  auto codes = ColumnPointers<columns>::make(in.acts + in.codes, in.stride);
  for (int b = 0; b < blocks; b++) {
    Ints16 t[columns];
#pragma GCC unroll 12
    for (int c = 0; c < columns; c++) t[c] = zero_ints();
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
      const Line line = load_line(panel.codes[8 * b + i]);
#pragma GCC unroll 12
      for (int c = 0; c < columns; c++) t[c] = dot_line(t[c], line, codes.at(c) + 4 * i);
    }
    for (auto& pointer : codes.third) pointer += 32;
#pragma GCC unroll 12
    for (int c = 0; c < columns; c++) {
      const uint8_t* column = in.acts + c * in.stride;
      const int32_t total = load<int32_t>(column + in.sum + 4 * b);
      const F32x16 scale = splat16(load<float>(column + in.scale + 4 * b));
      F32x16 y = load_f32(acc[c]);
      const Ints16 exact = kBias<F> ? add_all(t[c], -kBias<F> * total) : t[c];
      y = fma16(to_float16(exact), mul16(load_f32(panel.d[b]), scale), y);
      if constexpr (F::has_min) y = fma16(splat16((float)total), mul16(load_f32(panel.m[b]), scale), y);
      store16(acc[c], y);
    }
  }
}

}  // namespace pacos::PACOS_ISA
