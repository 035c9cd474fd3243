/* sums_lines.hpp: the integer sums of a tile (see tile_rows.hpp), line by line: dot_line multiplies a line of the panel
   by four activations that it broadcasts, dot_shifted does so with signed codes and activations + 128, add_scaled<F>
   applies a sub-block's scales. */
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
  PACOS_METHOD const uint8_t* at(int c) const { return third[c / 3] + c % 3 * stride; }
  PACOS_METHOD void advance(int bytes) {
    for (auto& pointer : third) pointer += bytes;
  }
};

/* Sums over `count` lines from `lines` on; the activations move on with them. */
template <class F, int columns, int count>
PACOS_INLINE void multiply_lines(Ints16 (&t)[columns], const uint8_t (*lines)[64], ColumnPointers<columns>& codes) {
#pragma GCC unroll 16
  for (int c = 0; c < columns; c++) t[c] = zero_ints();
#pragma GCC unroll 8
  for (int i = 0; i < count; i++) {
    const Line line = load_line(lines[i]);
#pragma GCC unroll 16
    for (int c = 0; c < columns; c++) {
      if constexpr (kShiftedActs<F>) t[c] = dot_shifted(t[c], line, codes.at(c) + 4 * i);
      else t[c] = dot_line(t[c], line, codes.at(c) + 4 * i);
    }
  }
  codes.advance(4 * count);
}

template <class F, int columns>
PACOS_INLINE void sums256(const Panel<F>& panel, const Columns& in, Ints16 (&sum)[columns]) {
  constexpr int lines = F::sub / 4;
  auto codes = kShiftedActs<F> ? ColumnPointers<columns>::make(in.prepared, kPanelWeights)
                               : ColumnPointers<columns>::make(in.acts + in.codes, in.stride);
#pragma GCC unroll 16
  for (int c = 0; c < columns; c++) sum[c] = zero_ints();
  for (int s = 0; s < kPanelWeights / F::sub; s++) {
    Ints16 t[columns];
    multiply_lines<F, columns, lines>(t, panel.codes + s * lines, codes);
    const Ints16 scale = load_ints(panel.scale[s]);
#pragma GCC unroll 16
    for (int c = 0; c < columns; c++) sum[c] = add_scaled<F>(sum[c], t[c], scale);
  }
}

template <class F, int columns>
PACOS_INLINE void sums32(const Panel<F>& panel, const Columns& in, int b, Ints16 (&t)[columns]) {
  auto codes = ColumnPointers<columns>::make(in.acts + in.codes + 32 * b, in.stride);
  multiply_lines<F, columns, 8>(t, panel.codes + 8 * b, codes);
}

/* What activations of 128 give. */
template <class F>
static __attribute__((noinline)) void find_shift(Panel<F>& panel) {
  alignas(64) uint8_t middle[kPanelWeights];
  for (int i = 0; i < kPanelWeights; i += 32) store(middle + i, splat(128));
  Ints16 sum[1];
  sums256<F, 1>(panel, {nullptr, 0, 0, 0, 0, 1, 0, middle}, sum);
  store_ints(panel.shift, sum[0]);
}

}  // namespace pacos::PACOS_ISA
