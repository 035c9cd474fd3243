/* outputs.hpp: where results of matrix products go. */
#pragma once
#include "kernels.hpp"
#include "vector.hpp"

namespace pacos::PACOS_ISA {

PACOS_INLINE float* output_row(const LinearArgs& args, int64_t column) {
  return args.y + (args.places != nullptr ? args.places[column] : column * args.ld_y);
}

PACOS_INLINE void put(const LinearArgs& args, int64_t column, int64_t row, float value) {
  output_row(args, column)[row] = args.bias ? value + args.bias[row] : value;
}

/* Up to 16 rows of one column. */
PACOS_INLINE void put_rows(const LinearArgs& args, int64_t column, int64_t row, int rows, const float* values) {
  float* y = output_row(args, column) + row;
  if (rows < 16) {
    for (int r = 0; r < rows; r++) put(args, column, row + r, values[r]);
    return;
  }
  for (int i = 0; i < 16; i += 8) {
    const F32x8 v = load<F32x8>(values + i);
    store(y + i, args.bias ? v + load<F32x8>(args.bias + row + i) : v);
  }
}

}  // namespace pacos::PACOS_ISA
