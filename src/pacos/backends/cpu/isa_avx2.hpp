/* isa_avx2.hpp: the primitives of the kernels on 256-bit x86 vectors, also of the instruction sets with VNNI.

   PACOS_VNNI(name) is the name of a 256-bit VNNI intrinsic, where there is one: AVX-VNNI and AVX-512 differ in it. */
#pragma once
#include "vector.hpp"

namespace pacos::PACOS_ISA {

/* ---- 8 lanes ---- */
PACOS_INLINE F32x8 fma8(F32x8 a, F32x8 b, F32x8 c) { return (F32x8)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
PACOS_INLINE F32x8 to_float(I32x8 v) { return (F32x8)_mm256_cvtepi32_ps((__m256i)v); }

/* Rows become columns: out[j][i] = in[i][j]. */
PACOS_INLINE void transpose8(I32x8 (&v)[8]) {
  const auto row = [&](int i) { return (__m256i)v[i]; };
  __m256i a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_epi32(row(i), row(i + 1));
    a[i + 1] = _mm256_unpackhi_epi32(row(i), row(i + 1));
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    v[i] = (I32x8)_mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
    v[i + 4] = (I32x8)_mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
  }
}

/* Sums of pairs of lanes of `bits`, a's and b's in turn. */
template <int bits>
PACOS_INLINE __m256i add_across(__m256i a, __m256i b) {
  if constexpr (bits == 64) return _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
  return _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
}

/* Lane j = sum of the lanes of v[j]. */
PACOS_INLINE I32x8 sums8(const I32x8 (&v)[8]) {
  const auto pair = [&](int i) { return add_across<32>((__m256i)v[i], (__m256i)v[i + 1]); };
  const __m256i low = add_across<64>(pair(0), pair(2)), high = add_across<64>(pair(4), pair(6));
  return (I32x8)_mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}

/* ---- integer dots of 32 codes; the lanes of a result only mean something in sum ---- */
/* Ends an expression: compilers turn chains of integer additions into trees that do not fit the registers. */
PACOS_INLINE __m256i settle(__m256i v) {
  __asm__("" : "+x"(v));
  return v;
}
/* sum += v in place: a compiler gives each settled sum a register of its own, and moves it back. */
PACOS_INLINE void add_to16(__m256i& sum, __m256i v) { __asm__("vpaddw %1, %0, %0" : "+x"(sum) : "x"(v)); }
PACOS_INLINE void add_to32(__m256i& sum, __m256i v) { __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(v)); }

PACOS_INLINE __m256i add_pairs(__m256i acc, __m256i a, __m256i b) {
#if defined(PACOS_VNNI)
  return PACOS_VNNI(dpwssd)(acc, a, b);
#else
  add_to32(acc, _mm256_madd_epi16(a, b));
  return acc;
#endif
}

PACOS_INLINE I32x8 dot_pairs(S16x16 a, S16x16 b) { return (I32x8)_mm256_madd_epi16((__m256i)a, (__m256i)b); }

/* 16 scales, ready to be spread: each half in both lanes. */
struct Scales {
  __m256i half[2];
};
PACOS_INLINE Scales prepare(S16x16 scales) {
  const __m256i s = (__m256i)scales;
  return {{_mm256_permute2x128_si256(s, s, 0x00), _mm256_permute2x128_si256(s, s, 0x11)}};
}
template <int i>
PACOS_INLINE __m256i spread(const Scales& scales) {
  constexpr int first = i % 4 * 4;
  const __m128i low = _mm_set1_epi16((short)(first | (first + 1) << 8)), high = _mm_add_epi8(low, _mm_set1_epi8(2));
  return _mm256_shuffle_epi8(scales.half[i / 4], _mm256_set_m128i(high, low));
}

/* Sums of two products: of unsigned codes below 128, and of signed bytes, whose signs are moved to the activations. */
PACOS_INLINE __m256i multiply_codes(U8x32 u, S8x32 a) { return _mm256_maddubs_epi16((__m256i)u, (__m256i)a); }
PACOS_INLINE __m256i multiply_codes(S8x32 w, S8x32 a) {
  return _mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)w), _mm256_sign_epi8((__m256i)a, (__m256i)w));
}

/* acc + scale * (w . a); the scale of weights 0..15 and that of 16..31. */
template <class Codes>
PACOS_INLINE I32x8 dot_scaled(I32x8 acc, Codes w, S8x32 a, __m256i spread_scales) {
  return (I32x8)add_pairs((__m256i)acc, multiply_codes(w, a), spread_scales);
}

/* As add_across, of 16-bit lanes. */
template <int bits>
PACOS_INLINE __m256i add_narrow_across(__m256i a, __m256i b) {
  if constexpr (bits == 64) return _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
  return _mm256_add_epi16(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
}

/* Lane j = w[j] . acts[32 j ..]. Products are summed in 16 bits as long as they fit. */
template <class F, class Codes>
PACOS_INLINE I32x8 dots8(const Codes (&w)[8], const uint8_t* acts) {
  __m256i t[8];
#if defined(PACOS_VNNI)
#pragma GCC unroll 8
  for (int j = 0; j < 8; j++) {
    const __m256i a = (__m256i)load<S8x32>(acts + 32 * j), v = (__m256i)w[j], none = _mm256_setzero_si256();
    if constexpr (kByteCodes<F>) t[j] = PACOS_VNNI(dpbusd)(none, _mm256_abs_epi8(v), _mm256_sign_epi8(a, v));
    else t[j] = PACOS_VNNI(dpbusd)(none, v, a);
  }
#else
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
  for (int j = 0; j < 8; j++) {
    t[j] = multiply_codes(w[j], load<S8x32>(acts + 32 * j));
    if constexpr (F::top > 31) t[j] = _mm256_madd_epi16(t[j], ones);
  }
  if constexpr (F::top <= 31) {
    const __m256i ab = add_narrow_across<32>(t[0], t[1]), cd = add_narrow_across<32>(t[2], t[3]);
    const __m256i ef = add_narrow_across<32>(t[4], t[5]), gh = add_narrow_across<32>(t[6], t[7]);
    const __m256i low = _mm256_madd_epi16(add_narrow_across<64>(ab, cd), ones);
    const __m256i high = _mm256_madd_epi16(add_narrow_across<64>(ef, gh), ones);
    return (I32x8)_mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
  }
#endif
  I32x8 parts[8];
#pragma GCC unroll 8
  for (int j = 0; j < 8; j++) parts[j] = (I32x8)t[j];
  return sums8(parts);
}

/* Up to so many columns a direct dot beats unpacking to a panel: longer where 16-bit sums of a panel must stay short. */
template <class F>
constexpr int kDirectColumns = F::block == 32 && F::top < 128 ? 2 : F::block == 256 && F::top > 31 ? 8 : 4;

/* ---- quantising activations ---- */
PACOS_INLINE S8x32 pack_s8(I32x8 a, I32x8 b, I32x8 c, I32x8 d) {
  const __m256i low = _mm256_packs_epi32((__m256i)a, (__m256i)b), high = _mm256_packs_epi32((__m256i)c, (__m256i)d);
  return (S8x32)_mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Sums of 4 neighbours. */
PACOS_INLINE I32x8 sum_fours(S8x32 v) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), (__m256i)v);
  return (I32x8)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* ---- 16 lanes of floats, the accumulators of unquantised weights ---- */
#if !defined(PACOS_AVX512)
struct F32x16 {
  __m256 low, high;
};
PACOS_INLINE F32x16 zero16() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
PACOS_INLINE F32x16 load_f32(const void* at) {
  return {_mm256_loadu_ps((const float*)at), _mm256_loadu_ps((const float*)at + 8)};
}
PACOS_INLINE F32x16 load_f16(const void* at) {
  const __m128i* h = (const __m128i*)at;
  return {_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1))};
}
PACOS_INLINE F32x16 load_bf16(const void* at) {
  const __m128i* h = (const __m128i*)at;
  const auto wide = [](__m128i v) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16)); };
  return {wide(_mm_loadu_si128(h)), wide(_mm_loadu_si128(h + 1))};
}
PACOS_INLINE void store16(float* at, F32x16 v) {
  _mm256_storeu_ps(at, v.low);
  _mm256_storeu_ps(at + 8, v.high);
}
PACOS_INLINE F32x16 fma16(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
/* Lanes l and l + 8, then l and l + 4, l + 2, l + 1. */
PACOS_INLINE float sum16(F32x16 v) {
  const __m256 eight = _mm256_add_ps(v.low, v.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
PACOS_INLINE F32x16 splat16(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
PACOS_INLINE F32x16 add16(F32x16 a, F32x16 b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
constexpr int kDirectFloats = 4, kDirectPairs = 3, kFloatColumns = 6;   // 12 of 16 registers accumulate
#endif

constexpr bool kEightWeights = false;
#if !defined(PACOS_VNNI)
/* ---- 16 rows of a panel: sub-block scales stand twice in a lane, for vpmaddwd ---- */
PACOS_INLINE I32x8 panel_scale_low(I32x8 pairs) { return (pairs & 0xffff) | pairs << 16; }
PACOS_INLINE I32x8 panel_scale_high(I32x8 pairs) { return (I32x8)((U32x8)pairs >> 16) | (pairs & (int32_t)0xffff0000); }
template <class F>
constexpr bool kWide = F::top > 127;   // two products of such codes overflow the 16 bits of vpmaddubsw
template <class F>
constexpr bool kSignedCodes = kWide<F>;
template <class F>
constexpr bool kShiftedActs = false;
template <class F>
constexpr int kShapeBias = kWide<F> ? 0 : F::bias;
constexpr int bits_filled(int n, int bits = 4) { return bits ? bits_filled(n | n >> bits, bits / 2) : n; }
template <class F>
constexpr int kShapeTop = bits_filled(F::top);   // 2^n - 1: as many sums fit 16 bits
#else
PACOS_INLINE I32x8 panel_scale_low(I32x8 pairs) { return pairs << 16 >> 16; }
PACOS_INLINE I32x8 panel_scale_high(I32x8 pairs) { return pairs >> 16; }
template <class F>
constexpr bool kWide = false;
/* vpdpbusd multiplies u8 by s8. Of 256-weight formats the bias costs a multiplication for every 32 weights and column,
   so there the activations are the unsigned ones. */
template <class F>
constexpr bool kShiftedActs = F::block == 256 && F::bias != 0;
template <class F>
constexpr bool kSignedCodes = kShiftedActs<F>;
/* Whether sums over a sub-block fit 16 bits, so that vpdpwssd applies a scale and adds. */
template <class F>
constexpr bool kShortSums = (kShiftedActs<F> ? 255 * (F::bias > F::top - F::bias ? F::bias : F::top - F::bias) : 127 * F::top) * F::sub < 32768;
/* Beyond that only counts whether there is a bias. */
template <class F>
constexpr bool kNarrow = [] {
  if constexpr (F::block == 256) return kShortSums<F>;
  else return true;
}();
template <class F>
constexpr int kShapeBias = F::bias == 0 ? 0 : kNarrow<F> ? 1 : 128;
template <class F>
constexpr int kShapeTop = kNarrow<F> ? 1 : 255;
#endif

}  // namespace pacos::PACOS_ISA

#include "pairs_avx2.hpp"
#if !defined(PACOS_VNNI)
#include "tile_avx2.hpp"
#endif
