/* isa_neon.hpp: the primitives of the kernels on NEON, also with dot products and with matrix multiplications (i8mm).

   A tile is computed in two halves of 8 rows, so that its sums stay in registers; four lines of the panel are
   multiplied by 16 activations of a column at a time. With i8mm, two rows of eight weights are multiplied by two
   columns of eight activations. */
#pragma once
#include "isa_portable.hpp"

namespace pacos::PACOS_ISA {

/* ---- 16 lanes of floats ---- */
struct F32x16 {
  float32x4_t part[4];
};
template <class Part>
PACOS_INLINE F32x16 make16(Part part) { return {{part(0), part(1), part(2), part(3)}}; }
PACOS_INLINE F32x16 splat16(float v) {
  return make16([&](int) { return vdupq_n_f32(v); });
}
PACOS_INLINE F32x16 zero16() { return splat16(0.f); }
PACOS_INLINE F32x16 load_f32(const void* at) {
  return make16([&](int i) { return vld1q_f32((const float*)at + 4 * i); });
}
PACOS_INLINE F32x16 load_f16(const void* at) {
  return make16([&](int i) { return vcvt_f32_f16(load<float16x4_t>((const uint16_t*)at + 4 * i)); });
}
PACOS_INLINE F32x16 load_bf16(const void* at) {
  return make16([&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16((const uint16_t*)at + 4 * i), 16)); });
}
PACOS_INLINE void store16(float* at, F32x16 v) {
  for (int i = 0; i < 4; i++) vst1q_f32(at + 4 * i, v.part[i]);
}
PACOS_INLINE F32x16 fma16(F32x16 a, F32x16 b, F32x16 c) {
  return make16([&](int i) { return vfmaq_f32(c.part[i], a.part[i], b.part[i]); });
}
PACOS_INLINE F32x16 add16(F32x16 a, F32x16 b) {
  return make16([&](int i) { return vaddq_f32(a.part[i], b.part[i]); });
}
PACOS_INLINE F32x16 mul16(F32x16 a, F32x16 b) {
  return make16([&](int i) { return vmulq_f32(a.part[i], b.part[i]); });
}
PACOS_INLINE F32x16 negate16(F32x16 a) {
  return make16([&](int i) { return vnegq_f32(a.part[i]); });
}
/* Lanes l and l + 8, then l and l + 4, l + 2, l + 1. */
PACOS_INLINE float sum16(F32x16 v) {
  const float32x4_t four = vaddq_f32(vaddq_f32(v.part[0], v.part[2]), vaddq_f32(v.part[1], v.part[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
constexpr int kDirectFloats = 6, kDirectPairs = 3, kFloatColumns = 6;   // 24 of 32 registers accumulate

/* ---- 16 rows of a panel ---- */
struct Ints16 {
  int32x4_t part[4];
};
template <class Part>
PACOS_INLINE Ints16 ints16(Part part) { return {{part(0), part(1), part(2), part(3)}}; }
PACOS_INLINE Ints16 zero_ints() {
  return ints16([&](int) { return vdupq_n_s32(0); });
}
PACOS_INLINE Ints16 load_ints(const int32_t* at) {
  return ints16([&](int i) { return vld1q_s32(at + 4 * i); });
}
PACOS_INLINE Ints16 add_s16_pairs(Ints16 acc, Ints16 pairs, int32_t two) {
  const int16x8_t v = vreinterpretq_s16_s32(vdupq_n_s32(two));
  return ints16([&](int i) {
    const int16x8_t p = vreinterpretq_s16_s32(pairs.part[i]);
    return vaddq_s32(acc.part[i], vpaddq_s32(vmull_s16(vget_low_s16(p), vget_low_s16(v)), vmull_high_s16(p, v)));
  });
}
template <int bits>
PACOS_INLINE Ints16 subtract_shifted(Ints16 a, Ints16 b) {
  return ints16([&](int i) { return vsubq_s32(a.part[i], vshlq_n_s32(b.part[i], bits)); });
}
PACOS_INLINE Ints16 add_all(Ints16 a, int32_t b) {
  return ints16([&](int i) { return vaddq_s32(a.part[i], vdupq_n_s32(b)); });
}
PACOS_INLINE F32x16 to_float16(Ints16 v) {
  return make16([&](int i) { return vcvtq_f32_s32(v.part[i]); });
}

template <class F>
constexpr bool kWide = false;
template <class F>
constexpr bool kPaired = false;
#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr bool kEightWeights = true;
#else
constexpr bool kEightWeights = false;
#endif
template <class F>
constexpr bool kSignedCodes = F::bias != 0;
template <class F>
constexpr bool kShiftedActs = false;
template <class F>
constexpr int kShapeBias = 0;
template <class F>
constexpr int kShapeTop = 0;
PACOS_INLINE I32x8 panel_scale_low(I32x8 pairs) { return pairs << 16 >> 16; }
PACOS_INLINE I32x8 panel_scale_high(I32x8 pairs) { return pairs >> 16; }
template <class F>
constexpr int kTileColumns = F::block == 256 ? 4 : 8;
template <class F>
constexpr int kDirectColumns = 4;

}  // namespace pacos::PACOS_ISA

#include "panel.hpp"

namespace pacos::PACOS_ISA {

#if defined(__ARM_FEATURE_MATMUL_INT8)
/* t[p][c] += rows 2 p and 2 p + 1 of 8 rows times columns 2 c and 2 c + 1 over 16 weights. */
template <int columns>
PACOS_INLINE void multiply16(int32x4_t (&t)[4][(columns + 1) / 2], const uint8_t (*lines)[64], int half, const uint8_t* acts,
                             int64_t stride) {
  constexpr int pairs = (columns + 1) / 2;
  int8x16_t low[pairs], high[pairs];
  for (int c = 0; c < pairs; c++) {
    const int8x16_t a = load<int8x16_t>(acts + 2 * c * stride);
    const int8x16_t b = 2 * c + 1 < columns ? load<int8x16_t>(acts + (2 * c + 1) * stride) : a;
    low[c] = vcombine_s8(vget_low_s8(a), vget_low_s8(b));
    high[c] = vcombine_s8(vget_high_s8(a), vget_high_s8(b));
  }
  for (int p = 0; p < 4; p++) {
    const int8x16_t first = load<int8x16_t>(lines[0] + 64 * half + 16 * p), second = load<int8x16_t>(lines[2] + 64 * half + 16 * p);
    for (int c = 0; c < pairs; c++) t[p][c] = vmmlaq_s32(vmmlaq_s32(t[p][c], first, low[c]), second, high[c]);
  }
}

/* The scales of rows 2 p and 2 p + 1 beside the sums that they belong to. */
PACOS_INLINE int32x4_t spread_rows(const int32_t* rows, int p) {
  const int32x2_t two = vld1_s32(rows + 2 * p);
  return vcombine_s32(vdup_lane_s32(two, 0), vdup_lane_s32(two, 1));
}
template <int columns>
PACOS_INLINE void put_half(Ints16 (&sum)[columns], int half, const int32x4_t (&t)[4][(columns + 1) / 2]) {
  for (int c = 0; c < columns; c++)
    for (int q = 0; q < 2; q++) {
      const int32x4_t a = t[2 * q][c / 2], b = t[2 * q + 1][c / 2];
      sum[c].part[2 * half + q] = c % 2 ? vuzp2q_s32(a, b) : vuzp1q_s32(a, b);
    }
}
template <int columns>
constexpr int kAcross = (columns + 1) / 2;   // vectors of sums beside each other
constexpr int kDown = 4;                     // and below each other, for 8 rows
#else
/* acc + four rows of four weights times activations 4 lane .. 4 lane + 3. */
template <int lane>
PACOS_INLINE int32x4_t dot_lane(int32x4_t acc, int8x16_t line, int8x16_t acts) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_laneq_s32(acc, line, acts, lane);
#else
  const int8x16_t four = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(acts), lane));
  return vpadalq_s16(acc, vpaddq_s16(vmull_s8(vget_low_s8(line), vget_low_s8(four)), vmull_high_s8(line, four)));
#endif
}

/* t[q][c] += rows 4 q .. 4 q + 3 of 8 rows times column c over 16 weights. */
template <int columns>
PACOS_INLINE void multiply16(int32x4_t (&t)[2][columns], const uint8_t (*lines)[64], int half, const uint8_t* acts, int64_t stride) {
  int8x16_t w[4][2];
  for (int i = 0; i < 4; i++)
    for (int q = 0; q < 2; q++) w[i][q] = load<int8x16_t>(lines[i] + 32 * half + 16 * q);
  for (int c = 0; c < columns; c++) {
    const int8x16_t a = load<int8x16_t>(acts + c * stride);
    for (int q = 0; q < 2; q++)
      t[q][c] = dot_lane<3>(dot_lane<2>(dot_lane<1>(dot_lane<0>(t[q][c], w[0][q], a), w[1][q], a), w[2][q], a), w[3][q], a);
  }
}
PACOS_INLINE int32x4_t spread_rows(const int32_t* rows, int q) { return vld1q_s32(rows + 4 * q); }
template <int columns>
PACOS_INLINE void put_half(Ints16 (&sum)[columns], int half, const int32x4_t (&t)[2][columns]) {
  for (int c = 0; c < columns; c++)
    for (int q = 0; q < 2; q++) sum[c].part[2 * half + q] = t[q][c];
}
template <int columns>
constexpr int kAcross = columns;
constexpr int kDown = 2;
#endif

template <class F, int columns>
PACOS_INLINE void sums256(const Panel<F>& panel, const Columns& in, Ints16 (&sum)[columns]) {
  for (int half = 0; half < 2; half++) {
    int32x4_t total[kDown][kAcross<columns>] = {};
    for (int s = 0; s < kPanelWeights / F::sub; s++) {
      int32x4_t t[kDown][kAcross<columns>] = {};
      for (int k = s * F::sub; k < (s + 1) * F::sub; k += 16)
        multiply16<columns>(t, panel.codes + k / 4, half, in.acts + in.codes + k, in.stride);
      for (int q = 0; q < kDown; q++) {
        const int32x4_t scale = spread_rows(panel.scale[s] + 8 * half, q);
        for (int c = 0; c < kAcross<columns>; c++) total[q][c] = vmlaq_s32(total[q][c], t[q][c], scale);
      }
    }
    put_half<columns>(sum, half, total);
  }
}

template <class F, int columns>
PACOS_INLINE void sums32(const Panel<F>& panel, const Columns& in, int b, Ints16 (&sum)[columns]) {
  for (int half = 0; half < 2; half++) {
    int32x4_t t[kDown][kAcross<columns>] = {};
    for (int k = 32 * b; k < 32 * b + 32; k += 16)
      multiply16<columns>(t, panel.codes + k / 4, half, in.acts + in.codes + k, in.stride);
    put_half<columns>(sum, half, t);
  }
}

}  // namespace pacos::PACOS_ISA

#include "tile_rows.hpp"
