/* direct.hpp: quantised weights times up to kDirectColumns columns: each row is read once, from front to back, and
   multiplied in registers. The integer sums of some rows are kept until their float chains run side by side. */
#pragma once
#include "formats.hpp"
#include "outputs.hpp"

namespace pacos::PACOS_ISA {

/* Weights stream from memory through all rows of a task; so far ahead they are asked for, as hardware alone is late. */
constexpr int64_t kAheadBytes = 2048;

constexpr int kGroupRows = 8;       // rows whose float chains run side by side
constexpr int kStretchBlocks = 64;  // blocks of a row whose integer sums are kept until the floats are combined

constexpr int kAcrossBlocks = 24;   // rows of more lose little in a last group that is not full
constexpr int kStretchValues = kGroupRows * kStretchBlocks;

/* Integer sums and scales of 8 rows x a stretch of blocks; a row begins kStretchBlocks after the one before, or, of blocks
   whose groups of eight go on from row to row, where that one ends. */
template <int columns>
struct Stretch {
  alignas(64) int32_t sum[columns][kStretchValues];
  alignas(64) int32_t min_sum[columns][kStretchValues];   // of 256-weight formats with minimums
  alignas(64) float d[kStretchValues], m[kStretchValues];
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
  const auto codes = F::template codes<i>(block);
  const auto spread_scales = spread<i>(scales);
#pragma GCC unroll 8
  for (int c = 0; c < columns; c++) acc[c] = dot_scaled(acc[c], codes, load<S8x32>(a + c * stride + 32 * i), spread_scales);
}

/* The sums of one 256-weight block of one row against all columns. */
template <class F, int columns, class Opened>
PACOS_INLINE void dot_block256(I32x8 (&parts)[columns][8], I32x8 (&min_parts)[columns][8], int j, const uint8_t* block,
                               const Opened& open, const uint8_t* a, const uint8_t* sums, int64_t stride, float& d, float& m) {
  const Header h = F::header(block);
  I32x8 acc[columns];
  for (int c = 0; c < columns; c++) {
    acc[c] = I32x8{};
    if constexpr (F::bias != 0 && !kByteCodes<F>) acc[c] -= dot_pairs(h.scales, load<S16x16>(sums + c * stride)) * F::bias;
    if constexpr (F::has_min) min_parts[c][j] = dot_pairs(h.mins, load<S16x16>(sums + c * stride));
  }
  const Scales scales = prepare(h.scales);
  repeat<8>([&]<int i>() PACOS_INLINED { dot_part<F, columns, i>(acc, open, scales, a, stride); });
  for (int c = 0; c < columns; c++) parts[c][j] = acc[c];
  d = h.d;
  if constexpr (F::has_min) m = h.dmin;
}

/* Where a block lies in its row. After the last block of a row follows the first of the next one. */
struct InRow {
  int at;
  int next() { return at++; }
};
struct AcrossRows {
  int at, count;
  int next() {
    const int found = at++;
    if (at == count) at = 0;
    return found;
  }
};

/* The sums of up to 8 blocks against all columns, to `first` and what follows. */
template <class F, int columns, class Place>
PACOS_INLINE void dot_blocks256(Stretch<columns>& out, int first, int blocks, const uint8_t* weights, Place& place, const Inputs& in) {
  I32x8 parts[columns][8], min_parts[columns][8];
  if (blocks < 8)
    for (int c = 0; c < columns; c++)
      for (int j = 0; j < 8; j++) parts[c][j] = min_parts[c][j] = I32x8{};
  decltype(opened<F>(weights)) open[Opens<F> ? 8 : 1];   // before all dots, so that these wait for nothing
  if constexpr (Opens<F>) {
#pragma GCC unroll 1
    for (int j = 0; j < blocks; j++) open[j] = opened<F>(weights + j * F::bytes);
  }
#pragma GCC unroll 1
  for (int j = 0; j < blocks; j++) {
    const uint8_t* block = weights + j * F::bytes;
    if constexpr (!Opens<F>) open[0] = block;
    const int at = place.next();
    dot_block256<F, columns>(parts, min_parts, j, block, open[Opens<F> ? j : 0], in.codes + 256 * at, in.sum + 32 * at, in.stride,
                             out.d[first + j], out.m[first + j]);
  }
#pragma GCC unroll 1
  for (int c = 0; c < columns; c++) {
    store(out.sum[c] + first, sums8(parts[c]));
    if constexpr (F::has_min) store(out.min_sum[c] + first, sums8(min_parts[c]));
  }
}

/* The sums of 8 blocks of a row against all columns; `total`: where their sums of activations lie. */
template <class F, int columns>
PACOS_INLINE void dot_blocks32(int32_t* sum, float* d, float* m, const uint8_t* weights, const uint8_t* codes, const uint8_t* total,
                               int64_t stride) {
  decltype(F::template codes<0>(weights)) u[8];
#pragma GCC unroll 8
  for (int b = 0; b < 8; b += kRuns<F>) {
    const uint8_t* block = weights + block_offset<F>(b);
    repeat<kRuns<F>>([&]<int i>() PACOS_INLINED { u[b + i] = F::template codes<i>(block); });
  }
  if constexpr (has_halves<F>) {
    const auto at = [&](int j) { return weights + j * F::bytes + F::scale_at; };
    store(d, halves8<F::scale_at + 16 <= F::bytes>(at));
    if constexpr (F::has_min)
      store(m, halves8<F::min_at + 16 <= F::bytes>([&](int j) { return at(j) + F::min_at - F::scale_at; }));
  } else {
    for (int b = 0; b < 8; b += kRuns<F>) {
      const uint8_t* block = weights + block_offset<F>(b);
      repeat<kRuns<F>>([&]<int i>() PACOS_INLINED { d[b + i] = scale_of<F, i>(block); });
      if constexpr (F::has_min) m[b] = F::minimum(block);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < columns; c++) {
    I32x8 sums = dots8<F>(u, codes + c * stride);
    if constexpr (F::bias != 0 && !kByteCodes<F>) sums -= load<I32x8>(total + c * stride) * F::bias;
    store(sum + c * kStretchValues, sums);
  }
}

/* The last blocks of a row against one column; what follows them in memory is not read. */
template <class F>
static __attribute__((noinline)) void dot_rest32(int32_t* sum, float* d, float* m, const uint8_t* weights, const uint8_t* codes,
                                                 const uint8_t* total, int blocks) {
  uint8_t blocks8[8 / kRuns<F> * F::bytes + 32] = {}, codes8[256] = {};
  __builtin_memcpy(blocks8, weights, block_offset<F>(blocks));
  __builtin_memcpy(codes8, codes, 32 * blocks);
  dot_blocks32<F, 1>(sum, d, m, blocks8, codes8, total, 0);
}

/* Eight rows' values at eight blocks, block by block: lane r of out[j] belongs to row r. */
template <class T, class V>
PACOS_INLINE void gather_blocks(V (&out)[8], const T* rows, int row_stride, int first) {
  I32x8 v[8];
  for (int r = 0; r < 8; r++) v[r] = load<I32x8>(rows + r * row_stride + first);
  transpose8(v);
  for (int j = 0; j < 8; j++) out[j] = (V)v[j];
}

/* The float chains of eight rows over a stretch, in the order that binds; acc[column][row]. */
template <int block, bool has_min>
static __attribute__((noinline)) void combine(float (*acc)[8], int columns, const int32_t (*sum)[kStretchValues],
                                              const int32_t (*min_sum)[kStretchValues], const float* all_d, const float* all_m,
                                              int blocks, int row_stride, const Inputs& in) {
  for (int first = 0; first < blocks; first += 8) {
    const int count = blocks - first < 8 ? blocks - first : 8;
    F32x8 d[8], m[8];
    gather_blocks(d, all_d, row_stride, first);
    if constexpr (has_min) gather_blocks(m, all_m, row_stride, first);
    for (int c = 0; c < columns; c++) {
      I32x8 sums[8], min_sums[8];
      gather_blocks(sums, sum[c], row_stride, first);
      if constexpr (block == 256 && has_min) gather_blocks(min_sums, min_sum[c], row_stride, first);
      F32x8 y = load<F32x8>(acc[c]);
      const auto add = [&](int j) PACOS_INLINED {
        const float scale = load<float>(in.scale + c * in.stride + 4 * (first + j));
        y = fma8(to_float(sums[j]), d[j] * scale, y);
        if constexpr (block == 256 && has_min) y = fma8(to_float(min_sums[j]), -(m[j] * scale), y);
        if constexpr (block == 32 && has_min) {
          const float total = (float)load<int32_t>(in.sum + c * in.stride + 4 * (first + j));
          y = fma8(F32x8{} + total, m[j] * scale, y);
        }
      };
      if (count == 8) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) add(j);
      } else {
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
          if (j < count) add(j);
      }
      store(acc[c], y);
    }
  }
}

[[maybe_unused]] static __attribute__((noinline)) void put_group(const LinearArgs& args, int64_t row, int rows, const float (*acc)[8]) {
  for (int c = 0; c < args.n; c++)
    for (int r = 0; r < rows; r++) put(args, c, row + r, acc[c][r]);
}

/* All columns of args, which are as many as the code is compiled for. */
template <class F, int columns>
static void direct_columns(const LinearArgs& args, int64_t row_begin, int64_t row_end) {
  const ActLayout at = act_layout(F::acts, args.columns);
  const int64_t all_blocks = args.columns / F::block;
  Stretch<columns> stretch;
  constexpr bool paired = kPaired<F> && columns == 1;
  alignas(64) uint8_t pairs[paired ? 2 * kStretchBlocks * F::block : 1];
  for (int64_t row = row_begin; row < row_end; row += kGroupRows) {
    const int rows = (int)smaller(kGroupRows, row_end - row);
    alignas(32) float acc[columns][kGroupRows] = {};
    for (int64_t start = 0; start < all_blocks; start += kStretchBlocks) {
      const int blocks = (int)smaller(kStretchBlocks, all_blocks - start);
      const Inputs in{args.acts + start * F::block, args.acts + at.scale + 4 * start,
                      args.acts + at.sum + (F::block == 256 ? 32 : 4) * start, args.act_stride};
      if constexpr (paired)
        if (row == row_begin || all_blocks > kStretchBlocks) pair_activations(in.codes, blocks * F::block / 256 * 256, pairs);
      const bool across = F::block == 256 && blocks == all_blocks && blocks <= kAcrossBlocks && blocks % 8 != 0;
      const int row_stride = across ? blocks : kStretchBlocks;
      if constexpr (F::block == 256)
        if (across) {
          AcrossRows place{0, blocks};
          const uint8_t* weights = args.weights + row * args.row_bytes;
          for (int b = 0; b < rows * blocks; b += 8, weights += 8 * F::bytes) {
            ask_ahead<8 * F::bytes>(weights);
            const int count = (int)smaller(8, rows * blocks - b);
            if constexpr (paired) dot_paired256<F>(stretch.sum[0] + b, stretch.d + b, weights, count, place, pairs);
            else dot_blocks256<F, columns>(stretch, b, count, weights, place, in);
          }
        }
      for (int r = 0; r < rows && !across; r++) {
        const uint8_t* weights = args.weights + (row + r) * args.row_bytes + block_offset<F>(start);
        int32_t* sum = stretch.sum[0] + r * kStretchBlocks;
        float *d = stretch.d + r * kStretchBlocks, *m = stretch.m + r * kStretchBlocks;
        if constexpr (F::block == 256) {
          InRow place{0};
          for (int b = 0; b < blocks; b += 8, weights += 8 * F::bytes) {
            ask_ahead<8 * F::bytes>(weights);
            const int count = blocks - b < 8 ? blocks - b : 8;
            if constexpr (paired) dot_paired256<F>(sum + b, d + b, weights, count, place, pairs);
            else dot_blocks256<F, columns>(stretch, r * kStretchBlocks + b, count, weights, place, in);
          }
        } else {
          int b = 0;
          for (; b + 8 <= blocks; b += 8) {
            ask_ahead<8 / kRuns<F> * F::bytes>(weights + block_offset<F>(b));
            if constexpr (paired)
              dot_paired32<F>(sum + b, d + b, weights + block_offset<F>(b), pairs + 64 * b);
            else
              dot_blocks32<F, columns>(sum + b, d + b, m + b, weights + block_offset<F>(b), in.codes + 32 * b, in.sum + 4 * b,
                                       in.stride);
          }
          if (b < blocks)
            for (int c = 0; c < columns; c++)
              dot_rest32<F>(sum + c * kStretchValues + b, d + b, m + b, weights + block_offset<F>(b),
                            in.codes + c * in.stride + 32 * b, in.sum + c * in.stride + 4 * b, blocks - b);
        }
      }
      combine<F::block, F::has_min>(acc, columns, stretch.sum, stretch.min_sum, stretch.d, stretch.m, blocks, row_stride, in);
    }
    put_group(args, row, rows, acc);
  }
}

}  // namespace pacos::PACOS_ISA
