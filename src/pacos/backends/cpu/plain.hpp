/* plain.hpp: y = W x in plain C++, in the order of operations that linear.hpp binds. Small rather than fast: one path for
   all formats, without panels or tiles, so it shares little with what it is compared with. */
#pragma once
#include "activations.hpp"
#include "decode.hpp"
#include "outputs.hpp"

namespace pacos::PACOS_ISA {

/* The integer part of a block's weights: of 256-weight formats scale * (code - bias), of others code - bias. */
static void weigh(const Decoder& format, const Decoded& block, int16_t* weights) {
  for (int first = 0; first < format.block; first += 16) {
    const int scale = format.run == 256 ? block.scales[first / 16] : 1;
    for (int i = first; i < first + 16; i++) weights[i] = (int16_t)(scale * (block.codes[i] - format.bias));
  }
}

template <int count>
static int32_t dot_exact(const int16_t* weights, const int8_t* acts) {
  int32_t sum = 0;
  for (int i = 0; i < count; i++) sum += weights[i] * acts[i];
  return sum;
}

/* Adds the products of one block with all columns, from column k of the matrix on. */
static void add_block(const Decoder& format, const Decoded& block, const LinearArgs& args, const ActLayout& at, int64_t k,
                      float* acc) {
  int16_t weights[256];
  weigh(format, block, weights);
  for (int64_t c = 0; c < args.n; c++) {
    const uint8_t* column = args.acts + c * args.act_stride;
    const int8_t* codes = (const int8_t*)column + k;
    if (format.run == 256) {
      const float scale = load<float>(column + at.scale + k / 256 * 4);
      acc[c] = fma1((float)dot_exact<256>(weights, codes), block.d[0] * scale, acc[c]);
      if (!format.has_min) continue;
      int32_t sum = 0;
      for (int i = 0; i < 16; i++) sum += block.mins[i] * load<int16_t>(column + at.sum + (k / 16 + i) * 2);
      acc[c] = fma1((float)sum, -(block.m[0] * scale), acc[c]);
    } else {
      for (int i = 0; i < format.block / 32; i++) {
        const float scale = load<float>(column + at.scale + (k / 32 + i) * 4);
        acc[c] = fma1((float)dot_exact<32>(weights + 32 * i, codes + 32 * i), block.d[i] * scale, acc[c]);
        if (!format.has_min) continue;
        const int32_t sum = load<int32_t>(column + at.sum + (k / 32 + i) * 4);
        acc[c] = fma1((float)sum, block.m[i] * scale, acc[c]);
      }
    }
  }
}

static void linear_codes(const Decoder& format, const LinearArgs& args, int64_t row, float* acc) {
  const ActLayout at = act_layout(format.run == 256 ? ACT_Q256 : ACT_Q32, args.columns);
  const uint8_t* weights = args.weights + row * args.row_bytes;
  Decoded block;
  __builtin_memset(acc, 0, sizeof(float) * args.n);
  for (int64_t k = 0; k < args.columns; k += format.block, weights += format.bytes) {
    format.decode(weights, block);
    add_block(format, block, args, at, k, acc);
  }
  for (int64_t c = 0; c < args.n; c++) put(args, c, row, acc[c]);
}

/* `count` activations of a column from k on, in their own order, zeros up to a multiple of 16. */
static void floats_of(const LinearArgs& args, int64_t column, int64_t k, int64_t count, float* to) {
  const float* acts = (const float*)(args.acts + column * args.act_stride);
  const int64_t depth = (args.columns + 15) / 16;
  for (int64_t i = k; i < round_up(k + count, 16); i++) *to++ = args.n < kLanesFrom ? acts[i] : acts[i % 16 * depth + i / 16];
}

/* acc: 16 lanes for each column. */
static void linear_floats(const Decoder& format, const LinearArgs& args, int64_t row, float (*acc)[16]) {
  constexpr int64_t some = 256;
  const uint8_t* weights = args.weights + row * args.row_bytes;
  __builtin_memset(acc, 0, sizeof(float) * 16 * args.n);
  for (int64_t k = 0; k < args.columns; k += some) {
    const int64_t count = smaller(some, args.columns - k);
    float values[some] = {}, acts[some];
    format.widen(weights + k / format.block * format.bytes, values, count);
    for (int64_t c = 0; c < args.n; c++) {
      floats_of(args, c, k, count, acts);
      for (int64_t i = 0; i < count; i += 8) fma_lanes(values + i, acts + i, acc[c] + i % 16);
    }
  }
  for (int64_t c = 0; c < args.n; c++) put(args, c, row, sum16(load_f32(acc[c])));
}

static void linear(const LinearArgs& args, int64_t row_begin, int64_t row_end, void* scratch) {
  const Decoder& format = kDecoders.entry[args.type];
  for (int64_t row = row_begin; row < row_end; row++) {
    if (format.widen) linear_floats(format, args, row, (float(*)[16])scratch);
    else linear_codes(format, args, row, (float*)scratch);
  }
}

static int64_t linear_scratch(int32_t, int64_t, int64_t n) { return 64 * (n + 1); }

}  // namespace pacos::PACOS_ISA
