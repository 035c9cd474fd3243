/* isa_avxvnni.hpp: the primitives of the kernels on AVX2 with VNNI: 16 rows are two vectors. */
#pragma once
#include "isa_avx2.hpp"

namespace pacos::PACOS_ISA {

/* ---- 16 lanes of floats ---- */
PACOS_INLINE F32x16 mul16(F32x16 a, F32x16 b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
PACOS_INLINE F32x16 negate16(F32x16 a) {
  const __m256 sign = _mm256_set1_ps(-0.f);
  return {_mm256_xor_ps(a.low, sign), _mm256_xor_ps(a.high, sign)};
}

/* ---- 16 rows of a panel ---- */
struct Ints16 {
  __m256i low, high;
};
typedef Ints16 Line;
PACOS_INLINE Ints16 zero_ints() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
PACOS_INLINE Ints16 load_ints(const int32_t* at) {
  return {_mm256_load_si256((const __m256i*)at), _mm256_load_si256((const __m256i*)at + 1)};
}
PACOS_INLINE void store_ints(int32_t* at, Ints16 v) {
  _mm256_store_si256((__m256i*)at, v.low);
  _mm256_store_si256((__m256i*)at + 1, v.high);
}
PACOS_INLINE Line load_line(const uint8_t* at) { return load_ints((const int32_t*)at); }
PACOS_INLINE Ints16 dot_line(Ints16 acc, Line line, const uint8_t* four) {
  const __m256i a = _mm256_set1_epi32(load<int32_t>(four));
  return {PACOS_VNNI(dpbusd)(acc.low, line.low, a), PACOS_VNNI(dpbusd)(acc.high, line.high, a)};
}
PACOS_INLINE Ints16 dot_shifted(Ints16 acc, Line line, const uint8_t* four) {
  const __m256i a = _mm256_set1_epi32(load<int32_t>(four));
  return {PACOS_VNNI(dpbusd)(acc.low, a, line.low), PACOS_VNNI(dpbusd)(acc.high, a, line.high)};
}
PACOS_INLINE Ints16 add_pairs16(Ints16 acc, Ints16 a, Ints16 b) {
  return {PACOS_VNNI(dpwssd)(acc.low, a.low, b.low), PACOS_VNNI(dpwssd)(acc.high, a.high, b.high)};
}
PACOS_INLINE Ints16 add_s16_pairs(Ints16 acc, Ints16 pairs, int32_t two) {
  return add_pairs16(acc, pairs, {_mm256_set1_epi32(two), _mm256_set1_epi32(two)});
}
template <class F>
PACOS_INLINE Ints16 add_scaled(Ints16 acc, Ints16 t, Ints16 scale) {
  if constexpr (kShortSums<F>) {
    const __m256i mask = _mm256_set1_epi32(0xffff);
    return add_pairs16(acc, t, {_mm256_and_si256(scale.low, mask), _mm256_and_si256(scale.high, mask)});
  } else {
    return {_mm256_add_epi32(acc.low, _mm256_mullo_epi32(t.low, scale.low)),
            _mm256_add_epi32(acc.high, _mm256_mullo_epi32(t.high, scale.high))};
  }
}
template <int bits>
PACOS_INLINE Ints16 subtract_shifted(Ints16 a, Ints16 b) {
  return {_mm256_sub_epi32(a.low, _mm256_slli_epi32(b.low, bits)), _mm256_sub_epi32(a.high, _mm256_slli_epi32(b.high, bits))};
}
PACOS_INLINE Ints16 add_all(Ints16 a, int32_t b) {
  const __m256i v = _mm256_set1_epi32(b);
  return {_mm256_add_epi32(a.low, v), _mm256_add_epi32(a.high, v)};
}
PACOS_INLINE F32x16 to_float16(Ints16 v) { return {_mm256_cvtepi32_ps(v.low), _mm256_cvtepi32_ps(v.high)}; }

template <class F>
constexpr int kTileColumns = F::block == 256 ? 3 : 5;   // the accumulators fit the registers

}  // namespace pacos::PACOS_ISA

#include "sums_lines.hpp"
#include "tile_rows.hpp"
