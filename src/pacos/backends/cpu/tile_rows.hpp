/* tile_rows.hpp: 16 rows x some columns, a panel times quantised activations, for instruction sets that multiply four
   bytes or more and add them into 32 bits in one step (VNNI, AMX, NEON), and for plain C++.

   The instruction set gives Ints16 and F32x16 with their arithmetic, and the exact integer sums of a tile:
     sums256<F, columns>(panel, in, sum)     sum over 256 weights of scale * code * activation
     sums32<F, columns>(panel, in, b, sum)   sum over block b of code * activation
   where code is what the panel holds. sums_lines.hpp has both for instruction sets that multiply line by line. */
#pragma once
#include "panel.hpp"

namespace pacos::PACOS_ISA {

#if defined(PACOS_AMX)
constexpr bool kSignedTiles = true;   // which multiply signed codes by activations as they are
#else
constexpr bool kSignedTiles = false;
#endif

/* Column c of a block of 256 weights: its corrections and its floats. */
template <class F>
PACOS_INLINE void finish256(const Panel<F>& panel, const Columns& in, int c, Ints16 total, float* acc) {
  const uint8_t* column = in.acts + c * in.stride;
  Ints16 corrections = zero_ints();
  if constexpr (F::has_min || kBias<F> != 0)
    for (int j = 0; j < 128 / F::sub; j++)
      corrections = add_s16_pairs(corrections, load_ints(panel.pairs[j]), load<int32_t>(column + in.sum + 4 * j));
  if constexpr (kBias<F> != 0) total = subtract_shifted<__builtin_ctz(kBias<F> ? kBias<F> : 1)>(total, corrections);
  if constexpr (kShiftedActs<F> && !kSignedTiles) total = subtract_shifted<0>(total, load_ints(panel.shift));
  const F32x16 scale = splat16(load<float>(column + in.scale));
  F32x16 y = load_f32(acc);
  y = fma16(to_float16(total), mul16(load_f32(panel.d[0]), scale), y);
  if constexpr (F::has_min) y = fma16(to_float16(corrections), negate16(mul16(load_f32(panel.m[0]), scale)), y);
  store16(acc, y);
}

/* Column c of block b of 32 weights. */
template <class F>
PACOS_INLINE void finish32(const Panel<F>& panel, const Columns& in, int c, int b, Ints16 sum, float* acc) {
  const uint8_t* column = in.acts + c * in.stride;
  const int32_t total = load<int32_t>(column + in.sum + 4 * b);
  const F32x16 scale = splat16(load<float>(column + in.scale + 4 * b));
  F32x16 y = load_f32(acc);
  const Ints16 exact = kBias<F> ? add_all(sum, -in.bias * total) : sum;
  y = fma16(to_float16(exact), mul16(load_f32(panel.d[b]), scale), y);
  if constexpr (F::has_min) y = fma16(splat16((float)total), mul16(load_f32(panel.m[b]), scale), y);
  store16(acc, y);
}

#if !defined(PACOS_AMX)
template <class F, int columns>
PACOS_INLINE void tile256(const Panel<F>& panel, const Columns& in, float (*acc)[16]) {
  Ints16 sum[columns];
  sums256<F, columns>(panel, in, sum);
#pragma GCC unroll 16
  for (int c = 0; c < columns; c++) finish256<F>(panel, in, c, sum[c], acc[c]);
}

template <class F, int columns>
PACOS_INLINE void tile32(const Panel<F>& panel, const Columns& in, int blocks, float (*acc)[16]) {
  for (int b = 0; b < blocks; b++) {
    Ints16 t[columns];
    sums32<F, columns>(panel, in, b, t);
#pragma GCC unroll 16
    for (int c = 0; c < columns; c++) finish32<F>(panel, in, c, b, t[c], acc[c]);
  }
}
#endif

}  // namespace pacos::PACOS_ISA
