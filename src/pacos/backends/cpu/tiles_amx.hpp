/* tiles_amx.hpp: panels of AVX-512 times quantised activations with AMX: lines of a panel are a B tile as they are,
   columns of activations an A tile, their product [column][16 rows]. Untested on such a processor. */
#pragma once
#include "formats.hpp"
#include "panels.hpp"

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

template <class S>
PACOS_INLINE void multiply_tiles(int32_t (*products)[16], const uint8_t (*lines)[64], const uint8_t* acts, int64_t stride) {
  _tile_zero(0);
  _tile_loadd(1, acts, stride);
  _tile_loadd(2, lines, 64);
  if constexpr (kSignedCodes<S>) _tile_dpbssd(0, 1, 2);
  else _tile_dpbsud(0, 1, 2);
  _tile_stored(0, products, 64);
}

template <class S>
static void multiply_matrices(const void* panels, int count, const Columns& in, int blocks, float (*acc)[16]) {
  alignas(64) int32_t products[kMostTileColumns][16], sum[kMostTileColumns][16];
  shape_tiles(in.count, S::sub / 4);
  for (int p = 0; p < count; p++, acc += in.count) {
    const Panel<S>& panel = ((const Panel<S>*)panels)[p];
    if constexpr (S::block == 256) {
      __builtin_memset(sum, 0, sizeof sum);
      for (int s = 0; s < kPanelWeights / S::sub; s++) {
        multiply_tiles<S>(products, panel.codes + s * S::sub / 4, in.acts + in.codes + s * S::sub, in.stride);
        const Ints16 scale = load_ints(panel.scale[s]);
        for (int c = 0; c < in.count; c++) store_ints(sum[c], add_scaled<S>(load_ints(sum[c]), load_ints(products[c]), scale));
      }
      for (int c = 0; c < in.count; c++) finish256<S>(panel, in, c, load_ints(sum[c]), acc[c]);
    } else {
      for (int b = 0; b < blocks; b++) {
        multiply_tiles<S>(products, panel.codes + 8 * b, in.acts + in.codes + 32 * b, in.stride);
        for (int c = 0; c < in.count; c++) finish32<S>(panel, in, c, b, load_ints(products[c]), acc[c]);
      }
    }
  }
  _tile_release();
}

static constexpr auto kMultiply = make_table<MultiplyTile>([]<class F>() -> MultiplyTile {
  if constexpr (F::block == 1) return nullptr;
  else return multiply_matrices<ShapeOf<F>>;
});

/* What AVX-512 does, but for the products of panels. */
static void linear(const LinearArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  const PanelKernels* kernels = panels_avx512(args.type, args.n);
  if (!kernels) return kernels_avx512.linear(args, row_begin, row_end, scratch);
  PanelKernels own = *kernels;
  own.tile_columns = kMostTileColumns;
  for (auto& tile : own.tile) tile = kMultiply.entry[args.type];
  multiply_panels(args, kFacts.entry[args.type], own, row_begin, row_end, scratch);
}

}  // namespace pacos::PACOS_ISA
