/* linear.hpp: y = W x for weights in any block format. One source for all instruction sets; plain.hpp is for machines without.

   The order of float operations is part of the contract, so that a row's result never depends on the instruction set,
   on the number of columns or on the split of rows over threads:
     256-weight formats   for each block in order of k: acc = fma(float(isum), d * da, acc), and with minimums
                          acc = fma(float(msum), -(dmin * da), acc). isum = sum of scale * (code - bias) * a,
                          msum = sum of minimum * a, both exact integers
     32-weight formats    for each block in order of k: acc = fma(float(isum), d * da, acc), and with minimums
                          acc = fma(float(sum of a), m * da, acc)
     F32, F16, BF16       lane l of 16 accumulates k = 16 j + l with fma; lanes are added as l and l + 8, then l and
                          l + 4, l and l + 2, l and l + 1
   Then the bias is added, if there is one.

   Up to kDirectColumns columns each row is read once, from front to back, and multiplied in registers (direct.hpp). More
   columns pay for unpacking 16 rows x 256 weights into a panel (panel.hpp, panels.hpp). */
#pragma once
#include "activations.hpp"
#include "direct.hpp"
#include "panels.hpp"

namespace pacos::PACOS_ISA {

/* ---- unquantised weights ------------------------------------------------------------------------------------ */

/* The 16 weights of a row from k on. */
template <class F>
PACOS_INLINE F32x16 values_of(const uint8_t* row, int64_t k) {
  if constexpr (kRuns<F> > 1) return F::values(row + block_offset<F>(k), (int)(k % kRuns<F>));
  else return F::values(row + k * F::bytes);
}

template <class F, int rows, int columns>
PACOS_INLINE void fma_tile(F32x16 (&acc)[rows][columns], const uint8_t* const (&weights)[rows], const float* acts, int64_t stride,
                           int64_t count) {
  for (int64_t k = 0; k < count; k += 16) {
    F32x16 w[rows];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) w[r] = values_of<F>(weights[r], k);
#pragma GCC unroll 10
    for (int c = 0; c < columns; c++) {
      const F32x16 a = load_f32(acts + c * stride + k);
#pragma GCC unroll 4
      for (int r = 0; r < rows; r++) acc[r][c] = fma16(w[r], a, acc[r][c]);
    }
  }
}

template <class F, int columns>
static void direct_floats(const LinearArgs& args, int64_t row_begin, int64_t row_end) {
  constexpr int rows = columns > kFloatColumns ? 1 : 2, some = 64;
  const float* acts = (const float*)args.acts;
  const int64_t stride = args.act_stride / 4, whole = args.columns & ~15ll;
  for (int64_t row = row_begin; row < row_end; row += rows) {
    const uint8_t* weights[rows];
    for (int r = 0; r < rows; r++) weights[r] = args.weights + smaller(row + r, row_end - 1) * args.row_bytes;
    F32x16 acc[rows][columns];
    for (int r = 0; r < rows; r++)
      for (int c = 0; c < columns; c++) acc[r][c] = zero16();
    for (int64_t k = 0; k < whole; k += some) {
      const int64_t ahead = block_offset<F>(k) + kAheadBytes / rows, wrap = ahead < args.row_bytes ? 0 : (rows - 1) * args.row_bytes;
      for (int r = 0; r < rows; r++)
        for (int i = 0; i < some / kRuns<F> * F::bytes; i += 64) __builtin_prefetch(weights[r] + ahead + wrap + i);
      const uint8_t* at[rows];
      for (int r = 0; r < rows; r++) at[r] = weights[r] + block_offset<F>(k);
      fma_tile<F, rows, columns>(acc, at, acts + k, stride, smaller(some, whole - k));
    }
    if (whole < args.columns) {
      uint8_t rest[rows][16 * F::bytes] = {};
      const uint8_t* rests[rows];
      for (int r = 0; r < rows; r++) {
        __builtin_memcpy(rest[r], weights[r] + whole * F::bytes, (args.columns - whole) * F::bytes);
        rests[r] = rest[r];
      }
      fma_tile<F, rows, columns>(acc, rests, acts + whole, stride, 16);
    }
    for (int r = 0; r < rows && row + r < row_end; r++)
      for (int c = 0; c < columns; c++) put(args, c, row + r, sum16(acc[r][c]));
  }
}

constexpr int kFloatBatchColumns = 64;   // their accumulators of 16 rows are 64 KB

struct FloatScratch {
  alignas(64) float weights[16][kPanelWeights + 16];                 // padded: rows must not share cache sets
  alignas(64) float acc[1][16];                                      // [column tile][row tile][row][column][lane]
};

struct PackedFloats {
  static constexpr int bytes = 4;
  PACOS_INLINE F32x16 values(const uint8_t* at) { return load_f32(at); }
};

template <int columns>
static void float_tiles(FloatScratch& scratch, const float* acts, int64_t stride, int64_t count, float (*acc)[16]) {
  for (int r0 = 0; r0 < 16; r0 += kFloatRows, acc += kFloatRows * columns) {
    const uint8_t* weights[kFloatRows];
    for (int r = 0; r < kFloatRows; r++) weights[r] = (const uint8_t*)scratch.weights[r0 + r];
    if constexpr (kLanesInHalves) {
      fma_halves<kFloatRows, columns>(acc, weights, acts, stride, count);
    } else {
      F32x16 sums[kFloatRows][columns];
      for (int r = 0; r < kFloatRows; r++)
        for (int c = 0; c < columns; c++) sums[r][c] = load_f32(acc[r * columns + c]);
      fma_tile<PackedFloats, kFloatRows, columns>(sums, weights, acts, stride, count);
      for (int r = 0; r < kFloatRows; r++)
        for (int c = 0; c < columns; c++) store16(acc[r * columns + c], sums[r][c]);
    }
  }
}

template <int most>
PACOS_INLINE void float_tiles_any(int columns, FloatScratch& scratch, const float* acts, int64_t stride, int64_t count, float (*acc)[16]) {
  if constexpr (most > 1)
    if (columns < most) return float_tiles_any<most - 1>(columns, scratch, acts, stride, count, acc);
  float_tiles<most>(scratch, acts, stride, count, acc);
}

template <class F>
static void float_batch(const LinearArgs& args, int64_t row, int rows, int64_t column, int columns, FloatScratch& scratch) {
  const int tiles = (columns + kFloatColumns - 1) / kFloatColumns;
  const int64_t stride = args.act_stride / 4;
  __builtin_memset(scratch.acc, 0, sizeof(float) * 16 * 16 * columns);
  for (int64_t k = 0; k < args.columns; k += kPanelWeights) {
    const int64_t count = smaller(kPanelWeights, args.columns - k), whole = count & ~15ll;
    for (int r = 0; r < 16; r++) {
      const uint8_t* weights = args.weights + (row + smaller(r, rows - 1)) * args.row_bytes + block_offset<F>(k);
      for (int64_t i = 0; i < whole; i += 16) store16(scratch.weights[r] + i, values_of<F>(weights, i));
      if constexpr (kRuns<F> == 1)   // other rows have no rest
        for (int64_t i = whole; i < count; i++) scratch.weights[r][i] = F::value(weights + i * F::bytes);
      for (int64_t i = count; i < round_up(count, 16); i++) scratch.weights[r][i] = 0.f;
    }
    for (int t = 0; t < tiles; t++) {
      const int c = tile_start(t, tiles, columns), n = tile_start(t + 1, tiles, columns) - c;
      const float* acts = (const float*)(args.acts + (column + c) * args.act_stride) + k;
      float_tiles_any<kFloatColumns>(n, scratch, acts, stride, round_up(count, 16), scratch.acc + c * 16);
    }
  }
  for (int t = 0; t < tiles; t++) {
    const int c = tile_start(t, tiles, columns), n = tile_start(t + 1, tiles, columns) - c;
    for (int r = 0; r < rows; r++)
      for (int i = 0; i < n; i++) put(args, column + c + i, row + r, sum16(load_f32(scratch.acc[c * 16 + r * n + i])));
  }
}

/* ---- one entry per format ------------------------------------------------------------------------------------ */

typedef void (*FewColumns)(const LinearArgs& args, int64_t row_begin, int64_t row_end);
constexpr int kMostDirect = 10;

struct FormatKernels {
  int32_t most_direct;             // up to so many columns have code of their own
  FewColumns direct[kMostDirect];  // for 1, 2 ... columns
  PanelKernels panels;             // of quantised formats
  void (*float_batch)(const LinearArgs& args, int64_t row, int rows, int64_t column, int columns, FloatScratch& scratch);
};

template <class F, int columns>
constexpr void enter_direct(FormatKernels& kernels) {
  if constexpr (F::block == 1) kernels.direct[columns - 1] = direct_floats<F, columns>;
  else kernels.direct[columns - 1] = direct_columns<F, columns>;
  if constexpr (columns > 1) enter_direct<F, columns - 1>(kernels);
}

static constexpr auto kFormats = make_table<FormatKernels>([]<class F>() {
  FormatKernels kernels{};
  if constexpr (F::block == 1) {
    kernels.most_direct = kDirectFloats;
    kernels.float_batch = float_batch<F>;
    enter_direct<F, kDirectFloats>(kernels);
  } else {
    kernels.most_direct = kDirectColumns<F>;
    kernels.panels = panel_kernels<F>();
    enter_direct<F, kDirectColumns<F>>(kernels);
  }
  return kernels;
});

static void linear(const LinearArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  const FormatKernels& kernels = kFormats.entry[args.type];
  if (args.n <= 0) return;
  if (args.n <= kernels.most_direct) return kernels.direct[args.n - 1](args, row_begin, row_end);
  if (!kernels.float_batch) return multiply_panels(args, kFacts.entry[args.type], kernels.panels, row_begin, row_end, scratch);
  const int64_t batches = (args.n + kFloatBatchColumns - 1) / kFloatBatchColumns;
  for (int64_t i = 0; i < batches; i++) {
    const int64_t column = args.n * i / batches, columns = args.n * (i + 1) / batches - column;
    for (int64_t row = row_begin; row < row_end; row += 16)
      kernels.float_batch(args, row, (int)smaller(16, row_end - row), column, (int)columns, *(FloatScratch*)scratch);
  }
}

static int64_t linear_scratch(int32_t type, int64_t, int64_t n) {
  const FormatKernels& kernels = kFormats.entry[type];
  if (n <= kernels.most_direct) return 64;
  if (!kernels.float_batch) {
    const PanelKernels& panels = kernels.panels;
    return panels.batch_rows / kPanelRows * panels.panel_bytes + smaller(n, kBatchColumns) * panels.batch_rows * 4;
  }
  return sizeof(FloatScratch) + smaller(n, kFloatBatchColumns) * 16 * 64;
}

}  // namespace pacos::PACOS_ISA
