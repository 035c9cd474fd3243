/* floats.hpp: unquantised weights times activations, in the order of operations that linear.hpp binds. */
#pragma once
#include "direct.hpp"
#include "outputs.hpp"
#include "pieces.hpp"

namespace pacos::PACOS_ISA {

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
  constexpr int rows = columns > kDirectPairs ? 1 : 2, some = 64;
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

/* Many columns: each lane is a matrix product of its own, of depth K / 16, whose rows lie side by side in a register and
   whose activations (ACT_LANES) are broadcast; so sums stay in registers over the whole depth. The panel holds
   [lane][16 rows][step][row]. Lanes are taken in the order of their reversed bits: then the tree of their sums needs
   one place per level. */
constexpr int kFloatBatchRows = 64, kFloatLevels = 5;
constexpr int64_t kFloatSteps = 256;    // of a lane at a time: the first-level cache holds as many of 6 columns and 16 rows
constexpr int kSquareWeights = 64;      // of a row that are transposed at a time: whole cache lines, which may share a set

/* Lines of 16 rows from lane to lane: odd, so that lanes share no cache sets. */
constexpr int64_t lane_lines(int64_t tiles, int64_t depth) { return tiles * depth | 1; }
constexpr int64_t float_panel_lines(int64_t K) { return 16 * lane_lines(kFloatBatchRows / 16, (K + 15) / 16); }

struct FloatPanel {
  float (*lines)[16];
  int64_t tiles, depth;
  float (*at(int lane, int64_t tile, int64_t step) const)[16] { return lines + lane * lane_lines(tiles, depth) + tile * depth + step; }
};

/* 16 weights of a row from k on, zeros behind the row's end. */
template <class F>
PACOS_INLINE F32x16 floats_at(const uint8_t* row, int64_t k, int64_t columns) {
  if (k + 16 <= columns) return values_of<F>(row, k);
  float rest[16] = {};
  if constexpr (kRuns<F> == 1)   // other rows have no rest
    for (int64_t i = k; i < columns; i++) rest[i - k] = F::value(row + i * F::bytes);
  return load_f32(rest);
}

template <class F>
static void unpack_floats(const FloatPanel& panel, const LinearArgs& args, int64_t row, int rows) {
  for (int64_t tile = 0; tile < panel.tiles; tile++)
    for (int64_t k = 0; k < args.columns; k += kSquareWeights)
      for (int half = 0; half < 16; half += 8) {
        const uint8_t* weights[8];
        for (int r = 0; r < 8; r++) weights[r] = args.weights + (row + smaller(16 * tile + half + r, rows - 1)) * args.row_bytes;
        for (int64_t i = k; i < smaller(k + kSquareWeights, args.columns); i += 16) {
          alignas(64) float square[8][16];
          I32x8 low[8], high[8];
#pragma GCC unroll 8
          for (int r = 0; r < 8; r++) {
            store16(square[r], floats_at<F>(weights[r], i, args.columns));
            low[r] = load<I32x8>(square[r]), high[r] = load<I32x8>(square[r] + 8);
          }
          transpose8(low);
          transpose8(high);
          float* to = *panel.at(0, tile, i / 16) + half;
          const int64_t lane = lane_lines(panel.tiles, panel.depth) * 16;
#pragma GCC unroll 8
          for (int j = 0; j < 8; j++) store(to + j * lane, low[j]), store(to + (8 + j) * lane, high[j]);
        }
      }
}

/* Where the sums of a tile wait for those that they are added to: one place for each level of the tree. */
struct FloatSums {
  float (*place)[16];
  int64_t distance;   // of levels
  int level;          // of the sum that is being made
};

/* 16 rows times some columns over `count` steps of a lane. */
template <int columns>
static __attribute__((noinline)) void float_tile(const float (*weights)[16], const float* acts, int64_t stride, int64_t count,
                                                 bool first, bool last, const FloatSums& sums) {
  F32x16 acc[columns];
  float (*own)[16] = sums.place + sums.level * sums.distance;
#pragma GCC unroll 12
  for (int c = 0; c < columns; c++) acc[c] = first ? zero16() : load_f32(own[c]);
  for (int64_t j = 0; j < count; j++) {
    const F32x16 w = load_f32(weights[j]);
#pragma GCC unroll 12
    for (int c = 0; c < columns; c++) acc[c] = fma16(w, splat16(acts[c * stride + j]), acc[c]);
  }
  if (last)
    for (int level = 0; level < sums.level; level++)
#pragma GCC unroll 12
      for (int c = 0; c < columns; c++) acc[c] = add16(acc[c], load_f32(sums.place[level * sums.distance + c]));
#pragma GCC unroll 12
  for (int c = 0; c < columns; c++) store16(own[c], acc[c]);
}

/* An even spread of kLanesFrom columns or more has no tile smaller than half. */
template <int columns>
PACOS_INLINE void float_tile_any(int count, const float (*weights)[16], const float* acts, int64_t stride, int64_t steps, bool first,
                                 bool last, const FloatSums& sums) {
  if constexpr (columns > kFloatColumns / 2)
    if (count < columns) return float_tile_any<columns - 1>(count, weights, acts, stride, steps, first, last, sums);
  float_tile<columns>(weights, acts, stride, steps, first, last, sums);
}

typedef void (*UnpackFloats)(const FloatPanel& panel, const LinearArgs& args, int64_t row, int rows);

static void float_batch(const LinearArgs& args, UnpackFloats unpack, int64_t row, int rows, int64_t column, int columns, void* scratch) {
  const FloatPanel panel{(float (*)[16])scratch, (rows + 15) / 16, (args.columns + 15) / 16};
  float (*places)[16] = panel.lines + float_panel_lines(args.columns);
  const int64_t stride = args.act_stride / 4;
  const int tiles = pieces_of(columns, kFloatColumns);
  unpack(panel, args, row, rows);
  for (int i = 0; i < 16; i++) {
    const int lane = (i & 1) << 3 | (i & 2) << 1 | (i & 4) >> 1 | (i & 8) >> 3, level = __builtin_ctz(~i);
    for (int64_t step = 0; step < panel.depth; step += kFloatSteps) {
      const int64_t count = smaller(kFloatSteps, panel.depth - step);
      for (int t = 0; t < tiles; t++) {
        const int c = piece_start(t, tiles, columns), n = piece_start(t + 1, tiles, columns) - c;
        const float* acts = (const float*)(args.acts + (column + c) * args.act_stride) + lane * panel.depth + step;
        const int64_t next = t + 1 < tiles ? piece_start(t + 2, tiles, columns) - c - n : 0;
        for (int64_t r = 0; r < panel.tiles; r++) {
          for (int64_t i = next * r / panel.tiles; i < next * (r + 1) / panel.tiles; i++)   // which lie far apart
            for (int64_t j = 0; j < count; j += 16) __builtin_prefetch(acts + (n + i) * stride + j, 0, 2);
          float_tile_any<kFloatColumns>(n, panel.at(lane, r, step), acts, stride, count, step == 0, step + count == panel.depth,
                                        {places + r * columns + c, panel.tiles * columns, level});
        }
      }
    }
  }
  for (int64_t r = 0; r < panel.tiles; r++)
    for (int c = 0; c < columns; c++)
      put_rows(args, column + c, row + 16 * r, (int)smaller(16, rows - 16 * r), places[((kFloatLevels - 1) * panel.tiles + r) * columns + c]);
}

/* All columns of args, at least kLanesFrom. */
static void multiply_lanes(const LinearArgs& args, UnpackFloats unpack, int64_t row_begin, int64_t row_end, void* scratch) {
  in_pieces(args.n, kBatchColumns, [&](int column, int columns) {
    for (int64_t row = row_begin; row < row_end; row += kFloatBatchRows)
      float_batch(args, unpack, row, (int)smaller(kFloatBatchRows, row_end - row), column, columns, scratch);
  });
}

static int64_t lanes_scratch(int64_t K, int64_t n) {
  return 64 * (float_panel_lines(K) + kFloatLevels * kFloatBatchRows / 16 * smaller(n, kBatchColumns));
}

}  // namespace pacos::PACOS_ISA
