/* sums_amx.hpp: the integer sums of a tile (see tile_rows.hpp) with AMX: lines of the panel are a B tile as they are,
   columns of activations an A tile, their product [column][16 rows]. Untested on such a processor. */
#pragma once
#include "panel.hpp"

namespace pacos::PACOS_ISA {

/* tile 0: the sums; 1: activations; 2: lines. */
struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
PACOS_INLINE void shape_tiles(int columns, int lines) {
  TileShapes shapes;
  shapes.row_bytes[0] = shapes.row_bytes[2] = 64;
  shapes.row_bytes[1] = (uint16_t)(4 * lines);
  shapes.rows[0] = shapes.rows[1] = (uint8_t)columns;
  shapes.rows[2] = (uint8_t)lines;
  _tile_loadconfig(&shapes);
}

template <class F>
PACOS_INLINE void multiply_tiles(int32_t (*products)[16], const uint8_t (*lines)[64], const uint8_t* acts, int64_t stride) {
  _tile_zero(0);
  _tile_loadd(1, acts, stride);
  _tile_loadd(2, lines, 64);
  if constexpr (kSignedCodes<F>) _tile_dpbssd(0, 1, 2);
  else _tile_dpbsud(0, 1, 2);
  _tile_stored(0, products, 64);
}

template <class F, int columns>
PACOS_INLINE void sums256(const Panel<F>& panel, const Columns& in, Ints16 (&sum)[columns]) {
  constexpr int lines = F::sub / 4;
  alignas(64) int32_t products[columns][16];
  shape_tiles(columns, lines);
#pragma GCC unroll 16
  for (int c = 0; c < columns; c++) sum[c] = zero_ints();
#pragma GCC unroll 1
  for (int s = 0; s < kPanelWeights / F::sub; s++) {
    multiply_tiles<F>(products, panel.codes + s * lines, in.acts + in.codes + s * F::sub, in.stride);
    const Ints16 scale = load_ints(panel.scale[s]);
#pragma GCC unroll 16
    for (int c = 0; c < columns; c++) sum[c] = add_scaled<F>(sum[c], load_ints(products[c]), scale);
  }
  _tile_release();
}

template <class F, int columns>
PACOS_INLINE void sums32(const Panel<F>& panel, const Columns& in, int b, Ints16 (&sum)[columns]) {
  alignas(64) int32_t products[columns][16];
  shape_tiles(columns, 8);
  multiply_tiles<F>(products, panel.codes + 8 * b, in.acts + in.codes + 32 * b, in.stride);
#pragma GCC unroll 16
  for (int c = 0; c < columns; c++) sum[c] = load_ints(products[c]);
  _tile_release();
}

}  // namespace pacos::PACOS_ISA
