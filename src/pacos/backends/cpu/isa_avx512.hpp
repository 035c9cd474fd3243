/* isa_avx512.hpp: the primitives of the kernels on AVX-512 with VNNI. Direct dots stay 256 bits wide (with VNNI). */
#pragma once
#include "isa_avx2.hpp"

namespace pacos::PACOS_ISA {

/* ---- 16 lanes of floats ---- */
typedef __m512 F32x16;
PACOS_INLINE F32x16 zero16() { return _mm512_setzero_ps(); }
PACOS_INLINE F32x16 load_f32(const void* at) { return _mm512_loadu_ps(at); }
PACOS_INLINE F32x16 load_f16(const void* at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)at)); }
PACOS_INLINE F32x16 load_bf16(const void* at) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)at));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
PACOS_INLINE void store16(float* at, F32x16 v) { _mm512_storeu_ps(at, v); }
PACOS_INLINE F32x16 splat16(float v) { return _mm512_set1_ps(v); }
PACOS_INLINE F32x16 mul16(F32x16 a, F32x16 b) { return _mm512_mul_ps(a, b); }
PACOS_INLINE F32x16 negate16(F32x16 a) {
  return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)0x80000000)));
}
PACOS_INLINE F32x16 add16(F32x16 a, F32x16 b) { return _mm512_add_ps(a, b); }
PACOS_INLINE F32x16 fma16(F32x16 a, F32x16 b, F32x16 c) { return _mm512_fmadd_ps(a, b, c); }
PACOS_INLINE float sum16(F32x16 v) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* ---- 16 rows of a panel ---- */
typedef __m512i Ints16;
typedef __m512i Line;
PACOS_INLINE Ints16 zero_ints() { return _mm512_setzero_si512(); }
PACOS_INLINE Ints16 load_ints(const int32_t* at) { return _mm512_load_si512(at); }
PACOS_INLINE void store_ints(int32_t* at, Ints16 v) { _mm512_store_si512(at, v); }
PACOS_INLINE Line load_line(const uint8_t* at) { return _mm512_load_si512(at); }
PACOS_INLINE Ints16 dot_line(Ints16 acc, Line line, const uint8_t* four) {
  return _mm512_dpbusd_epi32(acc, line, _mm512_set1_epi32(load<int32_t>(four)));
}
PACOS_INLINE Ints16 dot_shifted(Ints16 acc, Line line, const uint8_t* four) {
  return _mm512_dpbusd_epi32(acc, _mm512_set1_epi32(load<int32_t>(four)), line);
}
template <class F>
PACOS_INLINE Ints16 add_scaled(Ints16 acc, Ints16 t, Ints16 scale) {
  if constexpr (kShortSums<F>) return _mm512_dpwssd_epi32(acc, t, _mm512_and_si512(scale, _mm512_set1_epi32(0xffff)));
  else return _mm512_add_epi32(acc, _mm512_mullo_epi32(t, scale));
}
PACOS_INLINE Ints16 add_s16_pairs(Ints16 acc, Ints16 pairs, int32_t two) {
  return _mm512_dpwssd_epi32(acc, pairs, _mm512_set1_epi32(two));
}
template <int bits>
PACOS_INLINE Ints16 subtract_shifted(Ints16 a, Ints16 b) { return _mm512_sub_epi32(a, _mm512_slli_epi32(b, bits)); }
PACOS_INLINE Ints16 add_all(Ints16 a, int32_t b) { return _mm512_add_epi32(a, _mm512_set1_epi32(b)); }
PACOS_INLINE F32x16 to_float16(Ints16 v) { return _mm512_cvtepi32_ps(v); }

template <class F>
constexpr int kTileColumns = 12;   // 24 registers accumulate
constexpr int kDirectFloats = 10, kDirectPairs = 5, kFloatColumns = 12;   // of 32 registers at most 20 accumulate

}  // namespace pacos::PACOS_ISA

#if !defined(PACOS_AMX)
#include "sums_lines.hpp"
#endif
#include "tile_rows.hpp"
