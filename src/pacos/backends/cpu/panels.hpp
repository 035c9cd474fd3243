/* panels.hpp: quantised weights times many columns. Some rows are unpacked to panels, which are multiplied by one tile of
   columns after another. */
#pragma once
#include "outputs.hpp"
#include "panel.hpp"
#include "pieces.hpp"

namespace pacos::PACOS_ISA {

/* Rows whose panels of one k step share a pass over the activations; the panels stay in the first-level cache. */
template <class S>
constexpr int kBatchRows = 64;

template <class S, int columns>
static __attribute__((noinline)) void tile_columns(const void* from, int count, const Columns& in, int blocks, float (*acc)[16]) {
  const Panel<S>* panels = (const Panel<S>*)from;
  Columns at = in;
  alignas(64) uint8_t prepared[columns][kPreparedBytes<S> ? kPreparedBytes<S> : 1];
  if constexpr (kPreparedBytes<S> != 0) {
    for (int c = 0; c < columns; c++)
      for (int i = 0; i < S::block * blocks; i += 32) {
        const uint8_t* codes = in.acts + c * in.stride + in.codes + i;
        if constexpr (kShiftedActs<S>) store(prepared[c] + i, load<U8x32>(codes) ^ splat(128));
        else store(prepared[c] + 2 * i, widen(load<S8x16>(codes))), store(prepared[c] + 2 * i + 32, widen(load<S8x16>(codes + 16)));
      }
    at.prepared = prepared[0];
  }
  for (int p = 0; p < count; p++) {
    if constexpr (kWide<S>) tile_wide<S, columns>(panels[p], at, blocks, acc + p * columns);
    else if constexpr (S::block == 256) tile256<S, columns>(panels[p], at, acc + p * columns);
    else tile32<S, columns>(panels[p], at, blocks, acc + p * columns);
  }
}

/* An even spread of more than kDirectColumns columns has no tile smaller than this. */
template <class F>
constexpr int kTileLeast = kTileColumns<ShapeOf<F>> <= kDirectColumns<F> ? 1 : smaller(kDirectColumns<F> + 1, kTileColumns<ShapeOf<F>> / 2);

template <class S, int least, int columns>
constexpr void enter_tiles(PanelKernels& kernels) {
  kernels.tile[columns - 1] = tile_columns<S, columns>;
  if constexpr (columns > least) enter_tiles<S, least, columns - 1>(kernels);
}

template <class F>
constexpr PanelKernels panel_kernels() {
  using S = ShapeOf<F>;
  PanelKernels kernels{sizeof(Panel<S>), kBatchRows<S>, kTileColumns<S>, sub_of<F>(), F::bias, unpack<F>, {}};
  enter_tiles<S, kTileLeast<F>, kTileColumns<S>>(kernels);
  return kernels;
}

/* Columns' parts of a panel's width lie far apart: asks for those of the next tile while this one is multiplied. */
PACOS_INLINE void ask_columns(const Columns& in) {
  for (int c = 0; c < in.count; c++) {
    const uint8_t* column = in.acts + c * in.stride;
    for (int i = 0; i < kPanelWeights; i += 64) __builtin_prefetch(column + in.codes + i);
    __builtin_prefetch(column + in.scale);
    __builtin_prefetch(column + in.sum);
  }
}

static void panel_batch(const LinearArgs& args, const FormatFacts& facts, const PanelKernels& kernels, int64_t row, int rows,
                        int64_t column, int columns, void* scratch) {
  const ActLayout at = act_layout(facts.act_kind, args.columns);
  const bool wide = facts.act_kind == ACT_Q256;
  const int64_t panel_row_bytes = kPanelWeights / facts.block * facts.block_bytes;
  const int panels = (rows + kPanelRows - 1) / kPanelRows, tiles = pieces_of(columns, kernels.tile_columns);
  uint8_t* const panel = (uint8_t*)scratch;
  float (*const acc)[16] = (float(*)[16])(panel + kernels.batch_rows / kPanelRows * kernels.panel_bytes);
  __builtin_memset(acc, 0, sizeof(float) * 16 * panels * columns);
  const uint8_t* acts = args.acts + column * args.act_stride;
  for (int64_t k = 0; k < args.columns; k += kPanelWeights) {
    const int blocks = wide ? 1 : (int)smaller(kPanelWeights, args.columns - k) / 32;
    for (int p = 0; p < panels; p++) {
      const uint8_t* at_rows[16];
      for (int r = 0; r < 16; r++)
        at_rows[r] = args.weights + (row + smaller(16 * p + r, rows - 1)) * args.row_bytes + k / kPanelWeights * panel_row_bytes;
      kernels.unpack(panel + p * kernels.panel_bytes, at_rows, blocks);
    }
    int64_t scale = at.scale + k / 32 * 4, sum = at.sum + k / 32 * 4;
    if (wide) scale = at.scale + k / 256 * 4, sum = kernels.sub == 32 ? at.sum32 + k / 32 * 2 : at.sum + k / 16 * 2;
    const auto tile = [&](int t) {
      const int c = piece_start(t, tiles, columns);
      return Columns{acts + c * args.act_stride, args.act_stride, k, scale, sum,
                     piece_start(t + 1, tiles, columns) - c, kernels.bias, nullptr};
    };
    for (int t = 0; t < tiles; t++) {
      const Columns in = tile(t);
      if (t + 1 < tiles) ask_columns(tile(t + 1));
      kernels.tile[in.count - 1](panel, panels, in, blocks, acc + piece_start(t, tiles, columns) * panels);
    }
  }
  for (int t = 0; t < tiles; t++) {
    const int c = piece_start(t, tiles, columns), count = piece_start(t + 1, tiles, columns) - c;
    for (int p = 0; p < panels; p++)
      for (int i = 0; i < count; i++)
        put_rows(args, column + c + i, row + 16 * p, (int)smaller(16, rows - 16 * p), acc[c * panels + p * count + i]);
  }
}

/* All columns of args, some at a time. */
static void multiply_panels(const LinearArgs& args, const FormatFacts& facts, const PanelKernels& kernels, int64_t row_begin,
                            int64_t row_end, void* scratch) {
  in_pieces(args.n, kBatchColumns, [&](int column, int columns) {
    for (int64_t row = row_begin; row < row_end; row += kernels.batch_rows)
      panel_batch(args, facts, kernels, row, (int)smaller(kernels.batch_rows, row_end - row), column, columns, scratch);
  });
}

}  // namespace pacos::PACOS_ISA
