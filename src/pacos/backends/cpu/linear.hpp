/* linear.hpp: y = W x for weights in any block format, and the quantisation of x. One source for all instruction sets.

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

   Up to kDirectColumns columns each row is read once, from front to back, and multiplied in registers. More columns
   pay for unpacking 16 rows x 256 weights into a panel (panel.hpp) that the micro-kernel multiplies. */
#pragma once
#include "kernels.hpp"
#include "panel.hpp"
#include "pacos_formats.inc"

namespace pacos::PACOS_ISA {

/* Weights stream from memory through all rows of a task; so far ahead they are asked for, as hardware alone is late. */
constexpr int64_t kAheadBytes = 2048;

/* ---- quantise activations ---------------------------------------------------------------------------------- */

/* `count` (a multiple of 32) floats become codes; returns their scale. */
PACOS_INLINE float quantize_group(const float* x, int count, int8_t* codes) {
  I32x8 peak{};
  for (int i = 0; i < count; i += 8) {
    const I32x8 magnitude = load<I32x8>(x + i) & 0x7fffffff, above = magnitude > peak;
    peak = (magnitude & above) | (peak & ~above);
  }
  int32_t most = 0;
  for (int i = 0; i < 8; i++) most = peak[i] > most ? peak[i] : most;
  const float amax = load<float>(&most), inverse = 127.f / amax;
  const bool damaged = most >= 0x7f800000, usable = !damaged && inverse <= 3.4028235e38f;
  if (!usable) {
    for (int i = 0; i < count; i += 32) store(codes + i, S8x32{});
    return damaged ? __builtin_nanf("") : 0.f;
  }
  const auto code = [&](int i) {
    const F32x8 shifted = load<F32x8>(x + i) * inverse + 12582912.f;   // 1.5 * 2^23: rounds to even in the low bits
    return (I32x8)shifted - 0x4b400000;
  };
  for (int i = 0; i < count; i += 32) store(codes + i, pack_s8(code(i), code(i + 8), code(i + 16), code(i + 24)));
  return amax / 127.f;
}

static void quantize_row(int32_t kind, const float* x, int64_t K, void* out) {
  const ActLayout at = act_layout(kind, K);
  uint8_t* row = (uint8_t*)out;
  if (kind == ACT_F32) {
    __builtin_memcpy(row, x, K * 4);
    __builtin_memset(row + K * 4, 0, at.bytes - K * 4);
    return;
  }
  int8_t* codes = (int8_t*)row;
  float* scales = (float*)(row + at.scale);
  __builtin_memset(row + K, 0, at.scale - K);
  if (kind == ACT_Q32) {
    int32_t* sums = (int32_t*)(row + at.sum);
    for (int64_t b = 0; b < K / 32; b++) {
      scales[b] = quantize_group(x + 32 * b, 32, codes + 32 * b);
      const I32x8 fours = sum_fours(load<S8x32>(codes + 32 * b));
      sums[b] = ((fours[0] + fours[1]) + (fours[2] + fours[3])) + ((fours[4] + fours[5]) + (fours[6] + fours[7]));
    }
    for (int64_t b = K / 32; b < (at.bytes - at.sum) / 4; b++) scales[b] = 0.f, sums[b] = 0;
    return;
  }
  int16_t *sums16 = (int16_t*)(row + at.sum), *sums32 = (int16_t*)(row + at.sum32);
  __builtin_memset(row + at.scale, 0, at.bytes - at.scale);
  for (int64_t b = 0; b < K / 256; b++) {
    scales[b] = quantize_group(x + 256 * b, 256, codes + 256 * b);
    I32x8 fours[8];
    for (int i = 0; i < 8; i++) fours[i] = sum_fours(load<S8x32>(codes + 256 * b + 32 * i));
    transpose8(fours);
    const I32x8 even = (fours[0] + fours[1]) + (fours[2] + fours[3]), odd = (fours[4] + fours[5]) + (fours[6] + fours[7]);
    store(sums16 + 16 * b, (even & 0xffff) | odd << 16);
    store(sums32 + 8 * b, __builtin_convertvector(even + odd, int16_t __attribute__((vector_size(16)))));
  }
}

/* ---- direct dots of quantised weights ---------------------------------------------------------------------- */

constexpr int kGroupRows = 8;       // rows whose float chains run side by side
constexpr int kStretchBlocks = 64;  // blocks of a row whose integer sums are kept until the floats are combined

/* Integer sums and scales of 8 rows x a stretch of blocks. */
template <int columns>
struct Stretch {
  alignas(64) int32_t sum[columns][kGroupRows][kStretchBlocks];
  alignas(64) int32_t min_sum[columns][kGroupRows][kStretchBlocks];   // of 256-weight formats with minimums
  alignas(64) float d[kGroupRows][kStretchBlocks], m[kGroupRows][kStretchBlocks];
};

template <int bytes>
PACOS_INLINE void ask_ahead(const uint8_t* weights) {
  for (int i = 0; i < bytes; i += 64) __builtin_prefetch(weights + kAheadBytes + i);
}

/* Where the quantised columns lie, from the stretch's first block on. */
struct Inputs {
  const uint8_t* codes;
  const uint8_t* scale;
  const uint8_t* sum;
  int64_t stride;
};

template <class F, int columns, int i, class Opened>
PACOS_INLINE void dot_part(I32x8 (&acc)[columns], const Opened& block, const Scales& scales, const uint8_t* a, int64_t stride) {
  const U8x32 u = F::template codes<i>(block);
  const auto spread_scales = spread<i>(scales);
#pragma GCC unroll 8
  for (int c = 0; c < columns; c++) acc[c] = dot_scaled(acc[c], u, load<S8x32>(a + c * stride + 32 * i), spread_scales);
}

/* The sums of one 256-weight block of one row against all columns. */
template <class F, int columns, class Opened>
PACOS_INLINE void dot_block256(I32x8 (&parts)[columns][8], I32x8 (&min_parts)[columns][8], int j, const uint8_t* block,
                               const Opened& open, const uint8_t* a, const uint8_t* sums, int64_t stride, float& d, float& m) {
  const Header h = F::header(block);
  I32x8 acc[columns];
  for (int c = 0; c < columns; c++) {
    acc[c] = I32x8{};
    if constexpr (F::bias != 0) acc[c] -= dot_pairs(h.scales, load<S16x16>(sums + c * stride)) * F::bias;
    if constexpr (F::has_min) min_parts[c][j] = dot_pairs(h.mins, load<S16x16>(sums + c * stride));
  }
  const Scales scales = prepare(h.scales);
  repeat<8>([&]<int i>() PACOS_INLINED { dot_part<F, columns, i>(acc, open, scales, a, stride); });
  for (int c = 0; c < columns; c++) parts[c][j] = acc[c];
  d = h.d;
  if constexpr (F::has_min) m = h.dmin;
}

/* The sums of blocks first.. of one row against all columns: 8 of them, or `few` < 8 when few is not 0. */
template <class F, int columns>
PACOS_INLINE void dot_blocks256(Stretch<columns>& out, int r, int first, int few, const uint8_t* weights, const Inputs& in) {
  I32x8 parts[columns][8], min_parts[columns][8];
  const int blocks = few ? few : 8;
  if (few)
    for (int c = 0; c < columns; c++)
      for (int j = 0; j < 8; j++) parts[c][j] = min_parts[c][j] = I32x8{};
  decltype(opened<F>(weights)) open[Opens<F> ? 8 : 1];   // before all dots, so that these wait for nothing
  if constexpr (Opens<F>)
    for (int j = 0; j < blocks; j++) open[j] = opened<F>(weights + j * F::bytes);
#pragma GCC unroll 1
  for (int j = 0; j < blocks; j++) {
    const uint8_t* block = weights + j * F::bytes;
    if constexpr (!Opens<F>) open[0] = block;
    dot_block256<F, columns>(parts, min_parts, j, block, open[Opens<F> ? j : 0], in.codes + 256 * (first + j),
                             in.sum + 32 * (first + j), in.stride, out.d[r][first + j], out.m[r][first + j]);
  }
  for (int c = 0; c < columns; c++) {
    store(out.sum[c][r] + first, sums8(parts[c]));
    if constexpr (F::has_min) store(out.min_sum[c][r] + first, sums8(min_parts[c]));
  }
}

template <class F, int columns, bool all>
PACOS_INLINE void dot_blocks32(Stretch<columns>& out, int r, int first, int few, const uint8_t* weights, const Inputs& in) {
  const int blocks = all ? 8 : few;
  U8x32 u[8];
#pragma GCC unroll 8
  for (int b = 0; b < 8; b += kRuns<F>) {
    const uint8_t* block = weights + block_offset<F>(b);
    repeat<kRuns<F>>([&]<int i>() PACOS_INLINED { u[b + i] = all || b < few ? F::template codes<i>(block) : U8x32{}; });
  }
  if constexpr (all && has_halves<F>) {
    const auto at = [&](int j) { return weights + j * F::bytes + F::scale_at; };
    store(out.d[r] + first, halves8<F::scale_at + 16 <= F::bytes>(at));
    if constexpr (F::has_min)
      store(out.m[r] + first, halves8<F::min_at + 16 <= F::bytes>([&](int j) { return at(j) + F::min_at - F::scale_at; }));
  } else {
    for (int b = 0; b < blocks; b += kRuns<F>) {
      const uint8_t* block = weights + block_offset<F>(b);
      repeat<kRuns<F>>([&]<int i>() PACOS_INLINED { out.d[r][first + b + i] = scale_of<F, i>(block); });
      if constexpr (F::has_min) out.m[r][first + b] = F::minimum(block);
    }
  }
  uint8_t rest[256] = {};   // a row's activations may end here
#pragma GCC unroll 8
  for (int c = 0; c < columns; c++) {
    const uint8_t* codes = in.codes + c * in.stride + 32 * first;
    if constexpr (!all) codes = (const uint8_t*)__builtin_memcpy(rest, codes, 32 * few);
    I32x8 sums = dots8<F>(u, codes);
    if constexpr (F::bias != 0 && F::top < 128) sums -= load<I32x8>(in.sum + c * in.stride + 4 * first) * F::bias;
    store(out.sum[c][r] + first, sums);
  }
}

template <class F, int columns, bool all>
PACOS_INLINE void dot_blocks(Stretch<columns>& out, int r, int first, int few, const uint8_t* weights, const Inputs& in) {
  if constexpr (F::block == 256) dot_blocks256<F, columns>(out, r, first, few, weights, in);
  else dot_blocks32<F, columns, all>(out, r, first, few, weights, in);
}

/* Eight rows' values at eight blocks, block by block: lane r of out[j] belongs to row r. */
template <class T, class V>
PACOS_INLINE void gather_blocks(V (&out)[8], const T (&rows)[kGroupRows][kStretchBlocks], int first) {
  I32x8 v[8];
  for (int r = 0; r < 8; r++) v[r] = load<I32x8>(rows[r] + first);
  transpose8(v);
  for (int j = 0; j < 8; j++) out[j] = (V)v[j];
}

/* The float chains of eight rows over a stretch, in the order that binds. */
template <class F, int columns>
PACOS_INLINE void combine(F32x8 (&acc)[columns], const Stretch<columns>& stretch, int blocks, const Inputs& in) {
  for (int first = 0; first < blocks; first += 8) {
    const int count = blocks - first < 8 ? blocks - first : 8;
    F32x8 d[8], m[8];
    gather_blocks(d, stretch.d, first);
    if constexpr (F::has_min) gather_blocks(m, stretch.m, first);
    for (int c = 0; c < columns; c++) {
      I32x8 sums[8], min_sums[8];
      gather_blocks(sums, stretch.sum[c], first);
      if constexpr (F::block == 256 && F::has_min) gather_blocks(min_sums, stretch.min_sum[c], first);
      for (int j = 0; j < count; j++) {
        const float scale = load<float>(in.scale + c * in.stride + 4 * (first + j));
        acc[c] = fma8(to_float(sums[j]), d[j] * scale, acc[c]);
        if constexpr (F::block == 256 && F::has_min) acc[c] = fma8(to_float(min_sums[j]), -(m[j] * scale), acc[c]);
        if constexpr (F::block == 32 && F::has_min) {
          const float total = (float)load<int32_t>(in.sum + c * in.stride + 4 * (first + j));
          acc[c] = fma8(F32x8{} + total, m[j] * scale, acc[c]);
        }
      }
    }
  }
}

PACOS_INLINE void put(const LinearArgs& args, int64_t column, int64_t row, float value) {
  args.y[column * args.ld_y + row] = args.bias ? value + args.bias[row] : value;
}

/* Up to 16 rows of one column. */
PACOS_INLINE void put_rows(const LinearArgs& args, int64_t column, int64_t row, int rows, const float* values) {
  float* y = args.y + column * args.ld_y + row;
  if (rows < 16) {
    for (int r = 0; r < rows; r++) put(args, column, row + r, values[r]);
    return;
  }
  for (int i = 0; i < 16; i += 8) {
    const F32x8 v = load<F32x8>(values + i);
    store(y + i, args.bias ? v + load<F32x8>(args.bias + row + i) : v);
  }
}

template <class F, int columns>
static void direct_columns(const LinearArgs& args, int64_t row_begin, int64_t row_end, int64_t column) {
  const ActLayout at = act_layout(F::acts, args.columns);
  const uint8_t* acts = args.acts + column * args.act_stride;
  const int64_t all_blocks = args.columns / F::block;
  Stretch<columns> stretch;
  for (int64_t row = row_begin; row < row_end; row += kGroupRows) {
    const int rows = (int)smaller(kGroupRows, row_end - row);
    F32x8 acc[columns] = {};
    for (int64_t start = 0; start < all_blocks; start += kStretchBlocks) {
      const int blocks = (int)smaller(kStretchBlocks, all_blocks - start);
      const Inputs in{acts + start * F::block, acts + at.scale + 4 * start, acts + at.sum + (F::block == 256 ? 32 : 4) * start,
                      args.act_stride};
      for (int r = 0; r < rows; r++) {
        const uint8_t* weights = args.weights + (row + r) * args.row_bytes + block_offset<F>(start);
        int b = 0;
        for (; b + 8 <= blocks; b += 8) {
          ask_ahead<8 / kRuns<F> * F::bytes>(weights + block_offset<F>(b));
          dot_blocks<F, columns, true>(stretch, r, b, 0, weights + block_offset<F>(b), in);
        }
        if (b < blocks) dot_blocks<F, columns, false>(stretch, r, b, blocks - b, weights + block_offset<F>(b), in);
      }
      combine<F, columns>(acc, stretch, blocks, in);
    }
    for (int c = 0; c < columns; c++)
      for (int r = 0; r < rows; r++) put(args, column + c, row + r, acc[c][r]);
  }
}

/* ---- panels of quantised weights ---------------------------------------------------------------------------- */

/* Rows whose panels of one k step share a pass over the activations; the panels stay in the first-level cache. */
template <class F>
constexpr int kBatchRows = kSplit<F> ? 32 : 64;
constexpr int kBatchColumns = 512;  // columns whose float accumulators are kept at a time

template <class F>
struct PanelScratch {
  Panel<F> panels[kBatchRows<F> / kPanelRows];
  alignas(64) float acc[1][16];   // [column tile][panel][column in tile][16 rows], as many as needed
};

template <class F, int columns>
PACOS_INLINE void tile(const Panel<F>& panel, const Columns& in, int blocks, float (*acc)[16]) {
  if constexpr (F::block == 256)
    tile256<F, columns>(panel, in, acc);
  else
    tile32<F, columns>(panel, in, blocks, acc);
}

template <class F, int columns>
static __attribute__((noinline)) void tile_columns(const Panel<F>* panels, int count, Columns in, int blocks, float (*acc)[16]) {
  alignas(64) uint8_t shifted[kShiftedActs<F> ? columns : 1][kPanelWeights];
  if constexpr (kShiftedActs<F>) {
    for (int c = 0; c < columns; c++)
      for (int i = 0; i < kPanelWeights; i += 32)
        store(shifted[c] + i, load<U8x32>(in.acts + c * in.stride + in.codes + i) ^ splat(128));
    in.shifted = shifted[0];
  }
  for (int p = 0; p < count; p++) tile<F, columns>(panels[p], in, blocks, acc + p * columns);
}

/* An even spread of more than kDirectColumns columns has no tile smaller than this. */
template <class F>
constexpr int kTileLeast = kTileColumns<F> <= kDirectColumns<F> ? 1 : smaller(kDirectColumns<F> + 1, kTileColumns<F> / 2);

/* Calls the kernel compiled for exactly `columns` of them. */
template <class F, int most>
PACOS_INLINE void tile_any(int columns, const Panel<F>* panels, int count, const Columns& in, int blocks, float (*acc)[16]) {
  if constexpr (most > kTileLeast<F>)
    if (columns < most) return tile_any<F, most - 1>(columns, panels, count, in, blocks, acc);
  tile_columns<F, most>(panels, count, in, blocks, acc);
}

/* Columns are spread evenly over as few tiles as possible: 13 over tiles of up to 12 is 7 + 6. */
PACOS_INLINE int tile_start(int tile, int tiles, int columns) { return (int)((int64_t)tile * columns / tiles); }

/* Columns' parts of a panel's width lie far apart: asks for those of the next tile while this one is multiplied. */
template <class F>
PACOS_INLINE void ask_columns(const Columns& in, int columns) {
  for (int c = 0; c < columns; c++) {
    const uint8_t* column = in.acts + c * in.stride;
    for (int i = 0; i < kPanelWeights; i += 64) __builtin_prefetch(column + in.codes + i);
    __builtin_prefetch(column + in.scale);
    if constexpr (F::bias != 0 || F::has_min) __builtin_prefetch(column + in.sum);
  }
}

template <class F>
static void panel_batch(const LinearArgs& args, int64_t row, int rows, int64_t column, int columns, PanelScratch<F>& scratch) {
  const ActLayout at = act_layout(F::acts, args.columns);
  const int panels = (rows + kPanelRows - 1) / kPanelRows, tiles = (columns + kTileColumns<F> - 1) / kTileColumns<F>;
  __builtin_memset(scratch.acc, 0, sizeof(float) * 16 * panels * columns);
  const uint8_t* acts = args.acts + column * args.act_stride;
  for (int64_t k = 0; k < args.columns; k += kPanelWeights) {
    const int blocks = (int)(smaller(kPanelWeights, args.columns - k) / F::block);
    for (int p = 0; p < panels; p++) {
      const uint8_t* at_rows[16];
      for (int r = 0; r < 16; r++)
        at_rows[r] = args.weights + (row + smaller(16 * p + r, rows - 1)) * args.row_bytes + block_offset<F>(k / F::block);
      unpack(scratch.panels[p], at_rows, blocks);
    }
    int64_t sum = at.sum + k / 32 * 4;
    if (F::block == 256) sum = k / 16 * 2 + at.sum;
    if constexpr (F::block == 256)
      if (F::sub == 32) sum = k / 32 * 2 + at.sum32;
    for (int t = 0; t < tiles; t++) {
      const int c = tile_start(t, tiles, columns), next = tile_start(t + 1, tiles, columns), count = next - c;
      const Columns in{acts + c * args.act_stride, args.act_stride, k, at.scale + k / F::block * 4, sum};
      if (t + 1 < tiles) ask_columns<F>({in.acts + count * in.stride, in.stride, in.codes, in.scale, in.sum}, tile_start(t + 2, tiles, columns) - next);
      tile_any<F, kTileColumns<F>>(count, scratch.panels, panels, in, blocks, scratch.acc + c * panels);
    }
  }
  for (int t = 0; t < tiles; t++) {
    const int c = tile_start(t, tiles, columns), count = tile_start(t + 1, tiles, columns) - c;
    for (int p = 0; p < panels; p++)
      for (int i = 0; i < count; i++)
        put_rows(args, column + c + i, row + 16 * p, (int)smaller(16, rows - 16 * p), scratch.acc[c * panels + p * count + i]);
  }
}

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
static void direct_floats(const LinearArgs& args, int64_t row_begin, int64_t row_end, int64_t column) {
  constexpr int rows = columns > kFloatColumns ? 1 : 2, some = 64;
  const float* acts = (const float*)(args.acts + column * args.act_stride);
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
      for (int c = 0; c < columns; c++) put(args, column + c, row + r, sum16(acc[r][c]));
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

template <class F, int columns>
PACOS_INLINE void direct(const LinearArgs& args, int64_t row_begin, int64_t row_end, int64_t column) {
  if constexpr (F::block == 1)
    direct_floats<F, columns>(args, row_begin, row_end, column);
  else
    direct_columns<F, columns>(args, row_begin, row_end, column);
}

template <class F, int most>
PACOS_INLINE void direct_any(const LinearArgs& args, int64_t row_begin, int64_t row_end) {
  if constexpr (most > 1)
    if (args.n < most) return direct_any<F, most - 1>(args, row_begin, row_end);
  direct<F, most>(args, row_begin, row_end, 0);
}

template <class F>
constexpr int direct_most() {
  if constexpr (F::block == 1) return kDirectFloats;
  else return kDirectColumns<F>;
}

template <class F>
constexpr int batch_rows() {
  if constexpr (F::block == 1) return 16;
  else return kBatchRows<F>;
}

template <class F>
static void linear_of(const LinearArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  if (args.n <= 0) return;
  if (args.n <= direct_most<F>()) return direct_any<F, direct_most<F>()>(args, row_begin, row_end);
  constexpr int64_t some_rows = batch_rows<F>(), some_columns = F::block == 1 ? kFloatBatchColumns : kBatchColumns;
  const int64_t batches = (args.n + some_columns - 1) / some_columns;
  for (int64_t i = 0; i < batches; i++) {
    const int64_t column = args.n * i / batches, columns = args.n * (i + 1) / batches - column;
    for (int64_t row = row_begin; row < row_end; row += some_rows) {
      const int rows = (int)smaller(some_rows, row_end - row);
      if constexpr (F::block == 1)
        float_batch<F>(args, row, rows, column, (int)columns, *(FloatScratch*)scratch);
      else
        panel_batch<F>(args, row, rows, column, (int)columns, *(PanelScratch<F>*)scratch);
    }
  }
}

template <class F>
static int64_t scratch_of(int64_t n) {
  if (n <= direct_most<F>()) return 64;
  if constexpr (F::block == 1) return sizeof(FloatScratch) + smaller(n, kFloatBatchColumns) * 16 * 64;
  else return sizeof(PanelScratch<F>) + smaller(n, kBatchColumns) * kBatchRows<F> * 4;
}

template <class F>
static void dequantize_of(const void* src, float* dst, int64_t n) {
  const uint8_t* at = (const uint8_t*)src;
  for (int64_t k = 0; k < n; k += F::block * kRuns<F>, at += F::bytes) {
    if constexpr (F::block == 1 && kRuns<F> == 1) {
      dst[k] = F::value(at);
    } else if constexpr (F::block == 1) {
      for (int i = 0; i < kRuns<F>; i += 16) store16(dst + k + i, F::values(at, i));
    } else {
      const auto open = opened<F>(at);
      repeat<F::block / 32 * kRuns<F>>([&]<int i>() PACOS_INLINED {
        uint8_t codes[32];
        store(codes, F::template codes<i>(open));
        float* to = dst + k + 32 * i;
        if constexpr (F::block == 32) {
          const float d = scale_of<F, i>(at);
          if constexpr (F::has_min) {
            const float m = F::minimum(at);
            for (int j = 0; j < 32; j++) to[j] = d * (float)codes[j] + m;
          } else {
            for (int j = 0; j < 32; j++) to[j] = d * (float)(codes[j] - F::bias);
          }
        } else {
          const Header h = F::header(at);
          for (int s = 0; s < 2; s++) {
            const float d = h.d * (float)h.scales[2 * i + s];
            if constexpr (F::has_min) {
              const float m = h.dmin * (float)h.mins[2 * i + s];
              for (int j = 16 * s; j < 16 * s + 16; j++) to[j] = d * (float)codes[j] - m;
            } else {
              for (int j = 16 * s; j < 16 * s + 16; j++) to[j] = d * (float)(codes[j] - F::bias);
            }
          }
        }
      });
    }
  }
}

/* ---- dispatch by type id -------------------------------------------------------------------------------------- */

struct FormatKernels {
  FormatFacts facts;
  void (*linear)(const LinearArgs&, int64_t, int64_t, void*);
  int64_t (*scratch)(int64_t n);
  void (*dequantize)(const void*, float*, int64_t);
};

constexpr int kTypeIds = 64;   // above every ggml type id

struct FormatTable {
  FormatKernels entry[kTypeIds];
};

template <int id>
constexpr void enter(FormatTable& table) {
  using F = typename FormatOf<id>::type;
  if constexpr (__is_class(F)) {
    table.entry[id] = {{F::acts, F::block * kRuns<F>, F::bytes}, linear_of<F>, scratch_of<F>, dequantize_of<F>};
  }
  if constexpr (id > 0) enter<id - 1>(table);
}

constexpr FormatTable make_table() {
  FormatTable table{};
  enter<kTypeIds - 1>(table);
  return table;
}

static constexpr FormatTable kFormats = make_table();

static const FormatKernels* find_format(int32_t type) {
  return type >= 0 && type < kTypeIds && kFormats.entry[type].linear ? &kFormats.entry[type] : nullptr;
}

static const FormatFacts* format_facts(int32_t type) {
  const FormatKernels* format = find_format(type);
  return format ? &format->facts : nullptr;
}

static void linear(const LinearArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  kFormats.entry[args.type].linear(args, row_begin, row_end, scratch);
}

static int64_t linear_scratch(int32_t type, int64_t, int64_t n) { return kFormats.entry[type].scratch(n); }

static void dequantize_row(int32_t type, const void* src, float* dst, int64_t n) { kFormats.entry[type].dequantize(src, dst, n); }

}  // namespace pacos::PACOS_ISA
