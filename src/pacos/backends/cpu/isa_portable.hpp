/* isa_portable.hpp: the primitives of the kernels in plain C++, for any machine; NEON builds replace some of them. */
#pragma once
#include "vector.hpp"

namespace pacos::PACOS_ISA {

/* a * b + c with one rounding. Where the machine has no such instruction: the product is exact in double; the sum is
   rounded to odd in double, so that rounding it to float is the only rounding that counts (Boldo, Melquiond 2008). */
PACOS_INLINE float fma1(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  const double product = (double)a * b, sum = product + c, part = sum - product;
  const double miss = (product - (sum - part)) + (c - part);
  uint64_t bits = load<uint64_t>(&sum);
  const bool inexact = (miss < 0) | (miss > 0), even = !(bits & 1), up = (miss > 0) == (sum > 0);
  bits += (inexact & even) ? (up ? 1 : ~0ull) : 0;
  return (float)load<double>(&bits);
#endif
}

PACOS_INLINE F32x8 to_float(I32x8 v) { return __builtin_convertvector(v, F32x8); }

/* Loops over plain arrays outside the kernels: compilers turn single lanes of wide vectors into very long code. */
#define PACOS_OUTLINE [[maybe_unused]] static __attribute__((noinline)) void

PACOS_OUTLINE transpose_ints(int32_t (*v)[8]) {
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < i; j++) {
      const int32_t swap = v[i][j];
      v[i][j] = v[j][i];
      v[j][i] = swap;
    }
}
PACOS_OUTLINE fma_lanes(const float* a, const float* b, float* c) {
  for (int i = 0; i < 8; i++) c[i] = fma1(a[i], b[i], c[i]);
}
PACOS_INLINE F32x8 fma8(F32x8 a, F32x8 b, F32x8 c) {
#if defined(__aarch64__)
  const auto part = [](const void* v, int i) { return load<float32x4_t>((const uint8_t*)v + 16 * i); };
  for (int i = 0; i < 2; i++) store((uint8_t*)&c + 16 * i, vfmaq_f32(part(&c, i), part(&a, i), part(&b, i)));
#else
  fma_lanes((const float*)&a, (const float*)&b, (float*)&c);
#endif
  return c;
}

#if defined(__aarch64__)
PACOS_INLINE int32x4_t quarter(const I32x8& v, int i) { return load<int32x4_t>((const uint8_t*)&v + 16 * i); }
PACOS_INLINE I32x8 whole(int32x4_t low, int32x4_t high) {
  I32x8 v;
  store((uint8_t*)&v, low);
  store((uint8_t*)&v + 16, high);
  return v;
}
PACOS_INLINE void transpose4(int32x4_t (&v)[4]) {
  const auto wide = [](int32x4_t part) { return vreinterpretq_s64_s32(part); };
  const auto narrow = [](int64x2_t part) { return vreinterpretq_s32_s64(part); };
  const int32x4_t a = vtrn1q_s32(v[0], v[1]), b = vtrn2q_s32(v[0], v[1]);
  const int32x4_t c = vtrn1q_s32(v[2], v[3]), d = vtrn2q_s32(v[2], v[3]);
  v[0] = narrow(vtrn1q_s64(wide(a), wide(c)));
  v[1] = narrow(vtrn1q_s64(wide(b), wide(d)));
  v[2] = narrow(vtrn2q_s64(wide(a), wide(c)));
  v[3] = narrow(vtrn2q_s64(wide(b), wide(d)));
}
PACOS_INLINE void transpose8(I32x8 (&v)[8]) {
  int32x4_t part[2][2][4];   // [rows][columns]
  for (int r = 0; r < 2; r++)
    for (int c = 0; c < 2; c++) {
      for (int i = 0; i < 4; i++) part[r][c][i] = quarter(v[4 * r + i], c);
      transpose4(part[r][c]);
    }
  for (int i = 0; i < 8; i++) v[i] = whole(part[0][i / 4][i % 4], part[1][i / 4][i % 4]);
}

PACOS_INLINE I32x8 sums8(const I32x8 (&v)[8]) {
  const auto both = [&](int i) { return vaddq_s32(quarter(v[i], 0), quarter(v[i], 1)); };
  const auto four = [&](int i) { return vpaddq_s32(vpaddq_s32(both(i), both(i + 1)), vpaddq_s32(both(i + 2), both(i + 3))); };
  return whole(four(0), four(4));
}

PACOS_INLINE I32x8 dot_pairs(S16x16 a, S16x16 b) {
  const auto part = [&](int i) {
    const int16x8_t x = vreinterpretq_s16_s32(quarter((I32x8)a, i)), y = vreinterpretq_s16_s32(quarter((I32x8)b, i));
    return vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
  };
  return whole(part(0), part(1));
}
#else
PACOS_INLINE void transpose8(I32x8 (&v)[8]) { transpose_ints((int32_t(*)[8])v); }

PACOS_OUTLINE add_lanes(const int32_t (*v)[8], int32_t* sums) {
  for (int i = 0; i < 8; i++) {
    sums[i] = 0;
    for (int j = 0; j < 8; j++) sums[i] += v[i][j];
  }
}
PACOS_INLINE I32x8 sums8(const I32x8 (&v)[8]) {
  I32x8 sums;
  add_lanes((const int32_t(*)[8])v, (int32_t*)&sums);
  return sums;
}

PACOS_OUTLINE multiply_pairs(const int16_t* a, const int16_t* b, int32_t* sums) {
  for (int i = 0; i < 8; i++) sums[i] = a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
}
PACOS_INLINE I32x8 dot_pairs(S16x16 a, S16x16 b) {
  I32x8 sums;
  multiply_pairs((const int16_t*)&a, (const int16_t*)&b, (int32_t*)&sums);
  return sums;
}
#endif

/* Lane i = sum of products 4 i .. 4 i + 3. */
template <class Byte>
PACOS_OUTLINE multiply_fours(const Byte* u, const int8_t* a, int32_t* sums) {
  for (int i = 0; i < 8; i++) {
    sums[i] = 0;
    for (int j = 0; j < 4; j++) sums[i] += u[4 * i + j] * a[4 * i + j];
  }
}
#if defined(__aarch64__)
PACOS_INLINE int32x4_t multiply_fours(int8x16_t u, int8x16_t a) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(vdupq_n_s32(0), u, a);
#else
  const int16x8_t low = vmull_s8(vget_low_s8(u), vget_low_s8(a)), high = vmull_high_s8(u, a);
  return vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
#endif
}
#endif
PACOS_INLINE I32x8 dot_fours(U8x32 u, S8x32 a) {   // codes below 128
  I32x8 sums;
#if defined(__aarch64__)
  const auto part = [](const void* v, int i) { return load<int8x16_t>((const uint8_t*)v + 16 * i); };
  store((uint8_t*)&sums, multiply_fours(part(&u, 0), part(&a, 0)));
  store((uint8_t*)&sums + 16, multiply_fours(part(&u, 1), part(&a, 1)));
#else
  multiply_fours((const uint8_t*)&u, (const int8_t*)&a, (int32_t*)&sums);
#endif
  return sums;
}

struct Scales {
  S16x16 all;
};
PACOS_INLINE Scales prepare(S16x16 scales) { return {scales}; }
template <int i>
PACOS_INLINE I32x8 spread(const Scales& scales) {
  const int32_t a = scales.all[2 * i], b = scales.all[2 * i + 1];
  return I32x8{a, a, a, a, b, b, b, b};
}
PACOS_INLINE I32x8 dot_codes(U8x32 u, S8x32 a) { return dot_fours(u, a); }
PACOS_INLINE I32x8 dot_codes(S8x32 w, S8x32 a) {
#if defined(__aarch64__)
  return dot_fours((U8x32)w, a);
#else
  I32x8 sums;
  multiply_fours((const int8_t*)&w, (const int8_t*)&a, (int32_t*)&sums);
  return sums;
#endif
}

template <class Codes>
PACOS_INLINE I32x8 dot_scaled(I32x8 acc, Codes w, S8x32 a, I32x8 spread_scales) { return acc + dot_codes(w, a) * spread_scales; }

/* Lane j = w[j] . acts[32 j ..] */
template <class F, class Codes>
PACOS_INLINE I32x8 dots8(const Codes (&w)[8], const uint8_t* acts) {
  I32x8 t[8];
  for (int j = 0; j < 8; j++) t[j] = dot_codes(w[j], load<S8x32>(acts + 32 * j));
  return sums8(t);
}

#if defined(__aarch64__)
PACOS_INLINE S8x32 pack_s8(I32x8 a, I32x8 b, I32x8 c, I32x8 d) {
  const auto eight = [](const I32x8& v) { return vuzp1q_s16(vreinterpretq_s16_s32(quarter(v, 0)), vreinterpretq_s16_s32(quarter(v, 1))); };
  const auto sixteen = [&](const I32x8& v, const I32x8& w) { return vuzp1q_s8(vreinterpretq_s8_s16(eight(v)), vreinterpretq_s8_s16(eight(w))); };
  return (S8x32)whole(vreinterpretq_s32_s8(sixteen(a, b)), vreinterpretq_s32_s8(sixteen(c, d)));
}
#else
PACOS_OUTLINE narrow(const int32_t* from, int8_t* to) {
  for (int i = 0; i < 32; i++) to[i] = (int8_t)from[i];
}
PACOS_INLINE S8x32 pack_s8(I32x8 a, I32x8 b, I32x8 c, I32x8 d) {
  const I32x8 from[4] = {a, b, c, d};
  S8x32 out;
  narrow((const int32_t*)from, (int8_t*)&out);
  return out;
}
#endif
PACOS_INLINE I32x8 sum_fours(S8x32 v) { return dot_fours(splat(1), v); }

#if !defined(PACOS_NEON)
/* ---- 16 lanes of floats ---- */
struct F32x16 {
  F32x8 low, high;
};
PACOS_INLINE F32x16 zero16() { return {F32x8{}, F32x8{}}; }
PACOS_INLINE F32x16 load_f32(const void* at) { return load<F32x16>(at); }
PACOS_INLINE F32x16 load_f16(const void* at) {
  float wide[16];
  for (int i = 0; i < 16; i++) wide[i] = half_at((const uint8_t*)at + 2 * i);
  return load<F32x16>(wide);
}
PACOS_INLINE F32x16 load_bf16(const void* at) {
  uint32_t wide[16];
  for (int i = 0; i < 16; i++) wide[i] = (uint32_t)load<uint16_t>((const uint8_t*)at + 2 * i) << 16;
  return load<F32x16>(wide);
}
PACOS_INLINE void store16(float* at, F32x16 v) { store(at, v); }
PACOS_INLINE F32x16 fma16(const F32x16& a, const F32x16& b, const F32x16& c) {
  return {fma8(a.low, b.low, c.low), fma8(a.high, b.high, c.high)};
}
PACOS_INLINE float sum16(F32x16 v) {
  const F32x8 eight = v.low + v.high;
  return ((eight[0] + eight[4]) + (eight[2] + eight[6])) + ((eight[1] + eight[5]) + (eight[3] + eight[7]));
}
#endif

}  // namespace pacos::PACOS_ISA
