/* lanes.hpp: sixteen f32 at a time, the same on every instruction set: one zmm, two ymm, four q registers, or an array.

   Each operation gives the same bits everywhere (fma is one rounding, sums have one fixed tree), so every kernel written
   with it does. Included once by each rows_<isa>.cpp, inside whose namespace it lives. */
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(PACOS_LANES_AVX512) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"   // GCC bug 105593: its own intrinsics start from undefined
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#if defined(PACOS_LANES_AVX512) || defined(PACOS_LANES_AVX2)
#include <immintrin.h>
#elif defined(PACOS_LANES_NEON)
#include <arm_neon.h>
#endif

#include "backends/cpu/inlining.hpp"

namespace pacos {
namespace PACOS_ISA {

constexpr int kLanes = 16;

struct Bf16 { uint16_t bits; };

#if defined(PACOS_LANES_AVX512) || defined(PACOS_LANES_AVX2)
struct u8x16 { __m128i v; };
PACOS_INLINE u8x16 load(const uint8_t* p) { return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))}; }
PACOS_INLINE u8x16 operator|(u8x16 x, u8x16 y) { return {_mm_or_si128(x.v, y.v)}; }
/* Bits of each byte from `shift` on; mask says how many and lies within the byte. */
PACOS_INLINE u8x16 bits_at(u8x16 x, int shift, uint8_t mask) {
  return {_mm_and_si128(_mm_srl_epi16(x.v, _mm_cvtsi32_si128(shift)), _mm_set1_epi8(static_cast<char>(mask)))};
}
PACOS_INLINE u8x16 minus(u8x16 x, uint8_t y) { return {_mm_sub_epi8(x.v, _mm_set1_epi8(static_cast<char>(y)))}; }
PACOS_INLINE u8x16 times16(u8x16 x) { return {_mm_slli_epi16(x.v, 4)}; }   // of bytes below 16
PACOS_INLINE u8x16 spread_to_16(uint16_t bits) {   // byte i is 16 where bit i is set, else 0
  const __m128i mask = _mm_set1_epi64x(static_cast<int64_t>(0x8040201008040201u));
  const __m128i places = _mm_set_epi64x(0x0101010101010101, 0);
  const __m128i bytes = _mm_shuffle_epi8(_mm_cvtsi32_si128(bits), places);
  return {_mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(bytes, mask), mask), _mm_set1_epi8(16))};
}
PACOS_INLINE u8x16 look_up(u8x16 table, u8x16 indices) { return {_mm_shuffle_epi8(table.v, indices.v)}; }   // below 16
#endif

#if defined(PACOS_LANES_AVX512)

struct f32x16 { __m512 v; };
PACOS_INLINE f32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
PACOS_INLINE void store(float* p, f32x16 x) { _mm512_storeu_ps(p, x.v); }
PACOS_INLINE f32x16 splat(float x) { return {_mm512_set1_ps(x)}; }
PACOS_INLINE f32x16 operator+(f32x16 x, f32x16 y) { return {_mm512_add_ps(x.v, y.v)}; }
PACOS_INLINE f32x16 operator-(f32x16 x, f32x16 y) { return {_mm512_sub_ps(x.v, y.v)}; }
PACOS_INLINE f32x16 operator*(f32x16 x, f32x16 y) { return {_mm512_mul_ps(x.v, y.v)}; }
PACOS_INLINE f32x16 operator/(f32x16 x, f32x16 y) { return {_mm512_div_ps(x.v, y.v)}; }
PACOS_INLINE f32x16 fma(f32x16 x, f32x16 y, f32x16 z) { return {_mm512_fmadd_ps(x.v, y.v, z.v)}; }
PACOS_INLINE f32x16 max(f32x16 x, f32x16 y) { return {_mm512_max_ps(x.v, y.v)}; }
PACOS_INLINE f32x16 min(f32x16 x, f32x16 y) { return {_mm512_min_ps(x.v, y.v)}; }
PACOS_INLINE f32x16 select_less(f32x16 x, f32x16 y, f32x16 yes, f32x16 no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, y.v, _CMP_LT_OQ), no.v, yes.v)};
}
PACOS_INLINE f32x16 times_power(f32x16 x, f32x16 n) {
  const __m512i k = _mm512_cvtps_epi32(n.v), low = _mm512_srai_epi32(k, 1), high = _mm512_sub_epi32(k, low);
  const __m512i bias = _mm512_set1_epi32(127);
  const __m512 one = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(low, bias), 23));
  const __m512 two = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(high, bias), 23));
  return {_mm512_mul_ps(_mm512_mul_ps(x.v, one), two)};
}
PACOS_INLINE f32x16 load(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
PACOS_INLINE void store(uint16_t* p, f32x16 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
PACOS_INLINE f32x16 load(const Bf16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
PACOS_INLINE f32x16 low_bits_power(f32x16 x) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x.v), 23))}; }
PACOS_INLINE f32x16 signed_floats(u8x16 x) { return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x.v))}; }
PACOS_INLINE __m256 low_half(f32x16 x) { return _mm512_castps512_ps256(x.v); }
PACOS_INLINE __m256 high_half(f32x16 x) { return _mm512_extractf32x8_ps(x.v, 1); }

#elif defined(PACOS_LANES_AVX2)

struct f32x16 { __m256 a, b; };
PACOS_INLINE f32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
PACOS_INLINE void store(float* p, f32x16 x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
PACOS_INLINE f32x16 splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
PACOS_INLINE f32x16 operator+(f32x16 x, f32x16 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
PACOS_INLINE f32x16 operator-(f32x16 x, f32x16 y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
PACOS_INLINE f32x16 operator*(f32x16 x, f32x16 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
PACOS_INLINE f32x16 operator/(f32x16 x, f32x16 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
PACOS_INLINE f32x16 fma(f32x16 x, f32x16 y, f32x16 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
PACOS_INLINE f32x16 max(f32x16 x, f32x16 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
PACOS_INLINE f32x16 min(f32x16 x, f32x16 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
PACOS_INLINE f32x16 select_less(f32x16 x, f32x16 y, f32x16 yes, f32x16 no) {
  return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
PACOS_INLINE __m256 times_power8(__m256 x, __m256 n) {
  const __m256i k = _mm256_cvtps_epi32(n), low = _mm256_srai_epi32(k, 1), high = _mm256_sub_epi32(k, low);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256 one = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(low, bias), 23));
  const __m256 two = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(high, bias), 23));
  return _mm256_mul_ps(_mm256_mul_ps(x, one), two);
}
PACOS_INLINE f32x16 times_power(f32x16 x, f32x16 n) { return {times_power8(x.a, n.a), times_power8(x.b, n.b)}; }
PACOS_INLINE f32x16 load(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
PACOS_INLINE void store(uint16_t* p, f32x16 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
PACOS_INLINE __m256 load8(const Bf16* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
PACOS_INLINE f32x16 load(const Bf16* p) { return {load8(p), load8(p + 8)}; }
PACOS_INLINE __m256 low_bits_power8(__m256 x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x), 23)); }
PACOS_INLINE f32x16 low_bits_power(f32x16 x) { return {low_bits_power8(x.a), low_bits_power8(x.b)}; }
PACOS_INLINE f32x16 signed_floats(u8x16 x) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x.v)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(x.v, x.v)))};
}
PACOS_INLINE __m256 low_half(f32x16 x) { return x.a; }
PACOS_INLINE __m256 high_half(f32x16 x) { return x.b; }

#elif defined(PACOS_LANES_NEON)

struct f32x16 { float32x4_t v[4]; };
#define PACOS_EACH(expression) \
  f32x16 r; \
  for (int i = 0; i < 4; i++) r.v[i] = expression; \
  return r
PACOS_INLINE f32x16 load(const float* p) { PACOS_EACH(vld1q_f32(p + 4 * i)); }
PACOS_INLINE void store(float* p, f32x16 x) { for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, x.v[i]); }
PACOS_INLINE f32x16 splat(float x) { PACOS_EACH(vdupq_n_f32(x)); }
PACOS_INLINE f32x16 operator+(f32x16 x, f32x16 y) { PACOS_EACH(vaddq_f32(x.v[i], y.v[i])); }
PACOS_INLINE f32x16 operator-(f32x16 x, f32x16 y) { PACOS_EACH(vsubq_f32(x.v[i], y.v[i])); }
PACOS_INLINE f32x16 operator*(f32x16 x, f32x16 y) { PACOS_EACH(vmulq_f32(x.v[i], y.v[i])); }
PACOS_INLINE f32x16 operator/(f32x16 x, f32x16 y) { PACOS_EACH(vdivq_f32(x.v[i], y.v[i])); }
PACOS_INLINE f32x16 fma(f32x16 x, f32x16 y, f32x16 z) { PACOS_EACH(vfmaq_f32(z.v[i], x.v[i], y.v[i])); }
PACOS_INLINE f32x16 max(f32x16 x, f32x16 y) { PACOS_EACH(vbslq_f32(vcgtq_f32(x.v[i], y.v[i]), x.v[i], y.v[i])); }
PACOS_INLINE f32x16 min(f32x16 x, f32x16 y) { PACOS_EACH(vbslq_f32(vcltq_f32(x.v[i], y.v[i]), x.v[i], y.v[i])); }
PACOS_INLINE f32x16 select_less(f32x16 x, f32x16 y, f32x16 yes, f32x16 no) {
  PACOS_EACH(vbslq_f32(vcltq_f32(x.v[i], y.v[i]), yes.v[i], no.v[i]));
}
PACOS_INLINE float32x4_t times_power4(float32x4_t x, float32x4_t n) {
  const int32x4_t k = vcvtnq_s32_f32(n), low = vshrq_n_s32(k, 1), high = vsubq_s32(k, low), bias = vdupq_n_s32(127);
  const float32x4_t one = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(low, bias), 23));
  const float32x4_t two = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(high, bias), 23));
  return vmulq_f32(vmulq_f32(x, one), two);
}
PACOS_INLINE f32x16 times_power(f32x16 x, f32x16 n) { PACOS_EACH(times_power4(x.v[i], n.v[i])); }
PACOS_INLINE f32x16 load(const uint16_t* p) {
  PACOS_EACH(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}
PACOS_INLINE void store(uint16_t* p, f32x16 x) {
  for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
}
PACOS_INLINE f32x16 load(const Bf16* p) {
  PACOS_EACH(vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(&p[4 * i].bits), 16)));
}
PACOS_INLINE f32x16 low_bits_power(f32x16 x) {
  PACOS_EACH(vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(x.v[i]), 23)));
}
struct u8x16 { uint8x16_t v; };
PACOS_INLINE u8x16 load(const uint8_t* p) { return {vld1q_u8(p)}; }
PACOS_INLINE u8x16 operator|(u8x16 x, u8x16 y) { return {vorrq_u8(x.v, y.v)}; }
PACOS_INLINE u8x16 bits_at(u8x16 x, int shift, uint8_t mask) {
  return {vandq_u8(vshlq_u8(x.v, vdupq_n_s8(static_cast<int8_t>(-shift))), vdupq_n_u8(mask))};
}
PACOS_INLINE u8x16 minus(u8x16 x, uint8_t y) { return {vsubq_u8(x.v, vdupq_n_u8(y))}; }
PACOS_INLINE u8x16 times16(u8x16 x) { return {vshlq_n_u8(x.v, 4)}; }
PACOS_INLINE u8x16 look_up(u8x16 table, u8x16 indices) { return {vqtbl1q_u8(table.v, indices.v)}; }
PACOS_INLINE u8x16 spread_to_16(uint16_t bits) {
  static const uint8_t mask[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t bytes = vcombine_u8(vdup_n_u8(bits & 255), vdup_n_u8(static_cast<uint8_t>(bits >> 8)));
  return {vandq_u8(vtstq_u8(bytes, vld1q_u8(mask)), vdupq_n_u8(16))};
}
PACOS_INLINE f32x16 signed_floats(u8x16 x) {
  const int8x16_t bytes = vreinterpretq_s8_u8(x.v);
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
  return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
           vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
}
PACOS_INLINE float sum(f32x16 x) {
  const float32x4_t four = vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
PACOS_INLINE float largest(f32x16 x) {
  float lanes[kLanes];
  store(lanes, x);
  float m = lanes[0];
  for (int i = 1; i < kLanes; i++) m = lanes[i] > m ? lanes[i] : m;
  return m;
}
#undef PACOS_EACH

#else

struct f32x16 { float v[kLanes]; };
#define PACOS_EACH(expression) \
  f32x16 r; \
  for (int i = 0; i < kLanes; i++) r.v[i] = expression; \
  return r
PACOS_INLINE f32x16 load(const float* p) { PACOS_EACH(p[i]); }
PACOS_INLINE void store(float* p, f32x16 x) { for (int i = 0; i < kLanes; i++) p[i] = x.v[i]; }
PACOS_INLINE f32x16 splat(float x) { PACOS_EACH(x); }
PACOS_INLINE f32x16 operator+(f32x16 x, f32x16 y) { PACOS_EACH(x.v[i] + y.v[i]); }
PACOS_INLINE f32x16 operator-(f32x16 x, f32x16 y) { PACOS_EACH(x.v[i] - y.v[i]); }
PACOS_INLINE f32x16 operator*(f32x16 x, f32x16 y) { PACOS_EACH(x.v[i] * y.v[i]); }
PACOS_INLINE f32x16 operator/(f32x16 x, f32x16 y) { PACOS_EACH(x.v[i] / y.v[i]); }
/* Not in line: each is a call or a page of code for every lane, and plain builds are small rather than fast. */
#define PACOS_OUTLINE [[maybe_unused]] static __attribute__((noinline))
PACOS_OUTLINE f32x16 fma(const f32x16& x, const f32x16& y, const f32x16& z) { PACOS_EACH(__builtin_fmaf(x.v[i], y.v[i], z.v[i])); }
PACOS_INLINE f32x16 max(f32x16 x, f32x16 y) { PACOS_EACH(x.v[i] > y.v[i] ? x.v[i] : y.v[i]); }
PACOS_INLINE f32x16 min(f32x16 x, f32x16 y) { PACOS_EACH(x.v[i] < y.v[i] ? x.v[i] : y.v[i]); }
PACOS_INLINE f32x16 select_less(f32x16 x, f32x16 y, f32x16 yes, f32x16 no) {
  PACOS_EACH(x.v[i] < y.v[i] ? yes.v[i] : no.v[i]);
}
PACOS_INLINE float power(int32_t k) {
  const uint32_t bits = static_cast<uint32_t>(k + 127) << 23;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
PACOS_INLINE float times_power1(float x, float n) {
  const int32_t k = n == n ? static_cast<int32_t>(n) : 0, low = k >> 1;
  return x * power(low) * power(k - low);
}
PACOS_OUTLINE f32x16 times_power(const f32x16& x, const f32x16& n) { PACOS_EACH(times_power1(x.v[i], n.v[i])); }
PACOS_INLINE float from_half(uint16_t h) {
  const uint32_t magnitude = static_cast<uint32_t>(h & 0x7fff) << 13, sign = static_cast<uint32_t>(h & 0x8000) << 16;
  uint32_t bits = magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : magnitude + 0x38000000;   // inf and nan, normal
  if (magnitude < 0x00800000) {   // zero and denormal
    const float tiny = static_cast<float>(h & 0x7fff) * 0x1p-24f;
    std::memcpy(&bits, &tiny, 4);
  }
  bits |= sign;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
PACOS_INLINE uint16_t to_half(float f) {   // to nearest, ties to even, as the instructions do
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00 | (bits >> 13 & 0x3ff));
  if (bits >= 0x477ff000) return sign | 0x7c00;
  if (bits < 0x38800000) {   // denormal: 2^-24 is the unit, the addition rounds
    float magnitude;
    std::memcpy(&magnitude, &bits, 4);
    const float shifted = magnitude + 0.5f;
    uint32_t rounded;
    std::memcpy(&rounded, &shifted, 4);
    return static_cast<uint16_t>(sign | (rounded - 0x3f000000));
  }
  return static_cast<uint16_t>(sign | ((bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13));
}
PACOS_OUTLINE f32x16 load(const uint16_t* p) { PACOS_EACH(from_half(p[i])); }
PACOS_OUTLINE void store(uint16_t* p, const f32x16& x) { for (int i = 0; i < kLanes; i++) p[i] = to_half(x.v[i]); }
PACOS_INLINE f32x16 shifted(f32x16 x, int left) {
  uint32_t bits[kLanes];
  std::memcpy(bits, x.v, sizeof bits);
  for (int i = 0; i < kLanes; i++) bits[i] <<= left;
  std::memcpy(x.v, bits, sizeof bits);
  return x;
}
PACOS_INLINE f32x16 load(const Bf16* p) {
  uint32_t bits[kLanes];
  for (int i = 0; i < kLanes; i++) bits[i] = p[i].bits;
  f32x16 r;
  std::memcpy(r.v, bits, sizeof bits);
  return shifted(r, 16);
}
PACOS_INLINE f32x16 low_bits_power(f32x16 x) { return shifted(x, 23); }
struct u8x16 { uint8_t v[16]; };
#define PACOS_BYTES(expression) \
  u8x16 r; \
  for (int i = 0; i < 16; i++) r.v[i] = static_cast<uint8_t>(expression); \
  return r
PACOS_INLINE u8x16 load(const uint8_t* p) { PACOS_BYTES(p[i]); }
PACOS_INLINE u8x16 operator|(u8x16 x, u8x16 y) { PACOS_BYTES(x.v[i] | y.v[i]); }
PACOS_INLINE u8x16 bits_at(u8x16 x, int shift, uint8_t mask) { PACOS_BYTES(x.v[i] >> shift & mask); }
PACOS_INLINE u8x16 minus(u8x16 x, uint8_t y) { PACOS_BYTES(x.v[i] - y); }
PACOS_INLINE u8x16 times16(u8x16 x) { PACOS_BYTES(x.v[i] << 4); }
PACOS_INLINE u8x16 look_up(u8x16 table, u8x16 indices) { PACOS_BYTES(table.v[indices.v[i]]); }
PACOS_INLINE u8x16 spread_to_16(uint16_t bits) { PACOS_BYTES((bits >> i & 1) << 4); }
#undef PACOS_BYTES
PACOS_INLINE f32x16 signed_floats(u8x16 x) { PACOS_EACH(static_cast<float>(static_cast<int8_t>(x.v[i]))); }
PACOS_INLINE float sum(f32x16 x) {
  for (int step = 8; step > 0; step /= 2)
    for (int i = 0; i < step; i++) x.v[i] = x.v[i] + x.v[i + step];
  return x.v[0];
}
PACOS_INLINE float largest(f32x16 x) {
  float m = x.v[0];
  for (int i = 1; i < kLanes; i++) m = x.v[i] > m ? x.v[i] : m;
  return m;
}
#undef PACOS_OUTLINE
#undef PACOS_EACH

#endif

#if defined(PACOS_LANES_AVX512) || defined(PACOS_LANES_AVX2)
PACOS_INLINE float sum(f32x16 x) {   // lane i + 8, then + 4, + 2, + 1
  const __m256 eight = _mm256_add_ps(low_half(x), high_half(x));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
PACOS_INLINE float largest(f32x16 x) {
  const __m256 eight = _mm256_max_ps(low_half(x), high_half(x));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
#endif

/* The first n of sixteen; the others are zero, or left alone. */
PACOS_INLINE f32x16 load_part(const float* p, int64_t n) {
  float lanes[kLanes] = {};
  std::memcpy(lanes, p, static_cast<size_t>(n) * 4);
  return load(lanes);
}
PACOS_INLINE void store_part(float* p, f32x16 x, int64_t n) {
  float lanes[kLanes];
  store(lanes, x);
  std::memcpy(p, lanes, static_cast<size_t>(n) * 4);
}

/* e^x to 2 ulp; 0 below -104, infinity above 88.7. Source: Cephes expf. */
PACOS_INLINE f32x16 exp(f32x16 x) {
  x = min(splat(89.0f), max(splat(-104.0f), x));   // the second operand survives when x is not a number
  const f32x16 magic = splat(12582912.0f);         // 1.5 * 2^23: adding it rounds to an integer
  const f32x16 n = fma(x, splat(1.44269504088896341f), magic) - magic;
  f32x16 r = fma(n, splat(-0.693359375f), x);
  r = fma(n, splat(2.12194440e-4f), r);
  f32x16 p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  return times_power(fma(p, r * r, r) + splat(1.0f), n);
}

/* 2^x to 2 ulp for x <= 0; 0 below -126.5. Source: Cephes exp2f. */
PACOS_INLINE f32x16 exp2_falling(f32x16 x) {
  x = max(splat(-127.0f), x);                 // the second operand survives when x is not a number
  const f32x16 magic = splat(12583039.0f);    // 1.5 * 2^23 + 127: adding it leaves the rounded x + 127 in the low bits
  const f32x16 biased = x + magic, r = x - (biased - magic);
  f32x16 p = splat(1.535336188319500e-4f);
  p = fma(p, r, splat(1.339887440266574e-3f));
  p = fma(p, r, splat(9.618437357674640e-3f));
  p = fma(p, r, splat(5.550332471162809e-2f));
  p = fma(p, r, splat(2.402264791363012e-1f));
  p = fma(p, r, splat(6.931472028550421e-1f));
  return fma(p, r, splat(1.0f)) * low_bits_power(biased);
}

/* tanh to 2 ulp. Source: Cephes tanhf. */
PACOS_INLINE f32x16 tanh(f32x16 x) {
  const f32x16 size = max(x, splat(0.0f) - x), z = x * x;
  f32x16 p = splat(-5.70498872745e-3f);
  p = fma(p, z, splat(2.06390887954e-2f));
  p = fma(p, z, splat(-5.37397155531e-2f));
  p = fma(p, z, splat(1.33314422036e-1f));
  p = fma(p, z, splat(-3.33332819422e-1f));
  const f32x16 small = fma(p * z, x, x);
  const f32x16 large = splat(1.0f) - splat(2.0f) / (exp(size + size) + splat(1.0f));
  const f32x16 signed_large = select_less(x, splat(0.0f), splat(0.0f) - large, large);
  return select_less(size, splat(0.625f), small, signed_large);
}

}  // namespace PACOS_ISA
}  // namespace pacos
