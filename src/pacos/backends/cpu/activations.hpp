/* activations.hpp: activations as matrices take them: quantised or rearranged, one source for all instruction sets. */
#pragma once
#include "kernels.hpp"
#include "vector.hpp"

namespace pacos::PACOS_ISA {

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

/* x[16 j + l] becomes [l][j]. */
static void order_by_lanes(const float* x, int64_t K, float* out) {
  const int64_t depth = (K + 15) / 16;
  int64_t j = 0;
  for (; 16 * (j + 8) <= K; j += 8)
    for (int half = 0; half < 16; half += 8) {
      I32x8 v[8];
      for (int i = 0; i < 8; i++) v[i] = load<I32x8>(x + 16 * (j + i) + half);
      transpose8(v);
      for (int i = 0; i < 8; i++) store(out + (half + i) * depth + j, v[i]);
    }
  for (; j < depth; j++)
    for (int l = 0; l < 16; l++) out[l * depth + j] = 16 * j + l < K ? x[16 * j + l] : 0.f;
}

static void quantize_row(int32_t kind, const float* x, int64_t K, void* out) {
  const ActLayout at = act_layout(kind, K);
  uint8_t* row = (uint8_t*)out;
  if (kind == ACT_F32) {
    __builtin_memcpy(row, x, K * 4);
    __builtin_memset(row + K * 4, 0, at.bytes - K * 4);
    return;
  }
  if (kind == ACT_LANES) return order_by_lanes(x, K, (float*)out);
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

}  // namespace pacos::PACOS_ISA
