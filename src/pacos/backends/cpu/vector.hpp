/* vector.hpp: 32-byte vectors in the compilers' own vector language, the same source for every instruction set.

   Included inside no namespace; everything lives in pacos::PACOS_ISA, so that objects compiled with different -m flags
   never share a function. For the same reason nothing here or in the kernels calls inline functions of std. */
#pragma once
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "backends/cpu/inlining.hpp"

namespace pacos::PACOS_ISA {

typedef uint8_t U8x16 __attribute__((vector_size(16)));
typedef int8_t S8x16 __attribute__((vector_size(16)));
typedef uint16_t U16x8 __attribute__((vector_size(16)));
typedef uint8_t U8x32 __attribute__((vector_size(32)));
typedef int8_t S8x32 __attribute__((vector_size(32)));
typedef uint16_t U16x16 __attribute__((vector_size(32)));
typedef int16_t S16x16 __attribute__((vector_size(32)));
typedef uint32_t U32x8 __attribute__((vector_size(32)));
typedef int32_t I32x8 __attribute__((vector_size(32)));
typedef float F32x8 __attribute__((vector_size(32)));
typedef uint64_t U64x2 __attribute__((vector_size(16)));
typedef uint64_t U64x4 __attribute__((vector_size(32)));

template <class T>
PACOS_INLINE T load(const void* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
PACOS_INLINE void store(void* to, T value) {
  __builtin_memcpy(to, &value, sizeof value);
}

PACOS_INLINE constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

PACOS_INLINE U8x32 splat(uint8_t value) { return U8x32{} + value; }

/* Shifts whole 16-bit lanes: cheap everywhere, but bits cross between bytes, so the caller masks the result. */
template <int bits>
PACOS_INLINE U8x32 shift_right(U8x32 v) { return (U8x32)((U16x16)v >> bits); }
template <int bits>
PACOS_INLINE U8x32 shift_left(U8x32 v) { return (U8x32)((U16x16)v << bits); }

/* Moves bit `from` of each byte to bit `to`, all other bits zero. */
template <int from, int to>
PACOS_INLINE U8x32 move_bit(U8x32 v) {
  if constexpr (from > to) return shift_right<from - to>(v) & splat(1 << to);
  return shift_left<(to > from ? to - from : 0)>(v) & splat(1 << to);
}

PACOS_INLINE U8x32 join(U8x16 low, U8x16 high) {
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
}

/* Rows of four 32-bit lanes become columns, in each half alike: out[j][i] = in[i][j]. */
PACOS_INLINE void transpose4(I32x8 (&v)[4]) {
  const auto low = [](I32x8 a, I32x8 b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13); };
  const auto high = [](I32x8 a, I32x8 b) { return __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15); };
  const I32x8 even0 = low(v[0], v[2]), even1 = high(v[0], v[2]), odd0 = low(v[1], v[3]), odd1 = high(v[1], v[3]);
  v[0] = low(even0, odd0), v[1] = high(even0, odd0), v[2] = low(even1, odd1), v[3] = high(even1, odd1);
}

/* The two nibbles of 16 bytes: low ones first. */
PACOS_INLINE U8x32 nibbles(const uint8_t* from) {
  const U8x16 packed = load<U8x16>(from);
#if defined(__AVX2__)
  const __m256i both = _mm256_broadcastsi128_si256((__m128i)packed), down = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
  return (U8x32)_mm256_srlv_epi32(both, down) & splat(15);
#endif
  return join(packed, (U8x16)((U16x8)packed >> 4)) & splat(15);
}

/* Byte j is 255 where bit j is set. */
PACOS_INLINE U8x32 spread_bits(uint32_t bits) {
#if defined(__AVX2__)
  const __m256i pick = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
  const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
  const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), pick);
  return (U8x32)_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
#else
  U64x4 bytes;
  for (int i = 0; i < 4; i++) bytes[i] = (bits >> 8 * i & 255) * 0x0101010101010101u;
  const U8x32 bit = (U8x32)(U64x4{} + 0x8040201008040201u);
  return (U8x32)(((U8x32)bytes & bit) == bit);
#endif
}

/* The bytes of a table at these indices below 16. */
PACOS_INLINE U8x32 look_up(U8x16 table, U8x32 indices) {
#if defined(__AVX2__)
  return (U8x32)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256((__m128i)table), (__m256i)indices);
#elif defined(__aarch64__)
  const U8x16 half[2] = {(U8x16)vqtbl1q_u8((uint8x16_t)table, load<uint8x16_t>(&indices)),
                         (U8x16)vqtbl1q_u8((uint8x16_t)table, load<uint8x16_t>((const uint8_t*)&indices + 16))};
  return join(half[0], half[1]);
#else
  uint8_t from[16], at[32];
  store(from, table);
  store(at, indices);
  for (int i = 0; i < 32; i++) at[i] = from[at[i]];
  return load<U8x32>(at);
#endif
}

/* What codes of IQ4_NL and IQ4_XS stand for; twice what those of MXFP4 and NVFP4 stand for, plus 16. */
constexpr S8x16 kNonlinearLevels = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr U8x16 kFourBitFloats = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};

#if defined(__AVX2__)
PACOS_INLINE S16x16 widen(S8x16 v) { return (S16x16)_mm256_cvtepi8_epi16((__m128i)v); }
PACOS_INLINE S16x16 widen(U8x16 v) { return (S16x16)_mm256_cvtepu8_epi16((__m128i)v); }
#else
PACOS_INLINE S16x16 widen(S8x16 v) { return __builtin_convertvector(v, S16x16); }
PACOS_INLINE S16x16 widen(U8x16 v) { return __builtin_convertvector(v, S16x16); }
#endif

/* 16 lanes below 256 as bytes. */
PACOS_INLINE U8x16 narrow_lanes(U16x16 v) { return __builtin_convertvector(v, U8x16); }

/* 8 bytes, each twice, as 16 signed lanes. */
PACOS_INLINE S16x16 widen_twice(uint64_t eight) {
  const U8x16 v = (U8x16)U64x2{eight, 0};
  return widen(__builtin_shufflevector(v, v, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7));
}

PACOS_INLINE float half_to_float(uint16_t bits) {
#if defined(__F16C__)
  return _cvtsh_ss(bits);
#elif defined(__aarch64__)
  return (float)load<__fp16>(&bits);
#else
  const uint32_t rest = bits & 0x7fff, wide = rest << 13;
  const float scaled = load<float>(&wide) * 0x1p112f;   // moves the exponent's bias, exact for subnormals too
  uint32_t magnitude = load<uint32_t>(&scaled);
  if (rest >= 0x7c00) magnitude = 0x7f800000u | wide | (rest > 0x7c00 ? 1u << 22 : 0);
  const uint32_t whole = (uint32_t)(bits & 0x8000) << 16 | magnitude;
  return load<float>(&whole);
#endif
}

PACOS_INLINE float half_at(const uint8_t* at) { return half_to_float(load<uint16_t>(at)); }

/* Eight half floats, the j-th at address(j). `roomy`: 16 bytes may be read from 2 * j before address(j) on. */
template <bool roomy, class Address>
PACOS_INLINE F32x8 halves8(Address address) {
  const auto at = [&](int j) { return load<uint16_t>(address(j)); };
#if defined(__F16C__)
  if constexpr (roomy) {   // blends from memory are half of the work of insertions
    const auto window = [&](int j) { return (__m128i)load<U16x8>(address(j) - 2 * j); };
    __m128i v = _mm_blend_epi16(window(0), window(1), 2);
    v = _mm_blend_epi16(v, window(2), 4), v = _mm_blend_epi16(v, window(3), 8), v = _mm_blend_epi16(v, window(4), 16);
    v = _mm_blend_epi16(v, window(5), 32), v = _mm_blend_epi16(v, window(6), 64), v = _mm_blend_epi16(v, window(7), 128);
    return (F32x8)_mm256_cvtph_ps(v);
  }
  return (F32x8)_mm256_cvtph_ps((__m128i)U16x8{at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)});
#else
  F32x8 wide;
  for (int j = 0; j < 8; j++) wide[j] = half_to_float(at(j));
  return wide;
#endif
}

/* Whether a 32-weight format's scale is a half float at F::scale_at, so that eight can be read at once. */
template <class F>
concept HalfScaled = requires { F::scale_at; };
template <class F>
constexpr bool has_halves = HalfScaled<F>;

/* Whether a 32-weight format's codes are nothing but nibbles() of F::nibbles_at. */
template <class F>
concept OnlyNibbles = requires { F::nibbles_at; };
template <class F>
constexpr bool has_nibbles = OnlyNibbles<F>;

/* Eight minimums and eight scales of six bits each, packed in 12 bytes as in Q4_K and Q5_K. */
PACOS_INLINE void six_bit_pairs(const uint8_t* at, S16x16& scales, S16x16& mins) {
  const uint32_t low = load<uint32_t>(at), mid = load<uint32_t>(at + 4), high = load<uint32_t>(at + 8);
  const uint32_t s = (high & 0x0f0f0f0f) | (low >> 2 & 0x30303030), m = (high >> 4 & 0x0f0f0f0f) | (mid >> 2 & 0x30303030);
  scales = widen_twice((low & 0x3f3f3f3f) | (uint64_t)s << 32);
  mins = widen_twice((mid & 0x3f3f3f3f) | (uint64_t)m << 32);
}

/* What header() of a 256-weight format gives: one entry of scales and mins per 16 weights, mins only if has_min. */
struct Header {
  float d, dmin;
  S16x16 scales, mins;
};

/* The file's blocks of some 32-weight formats, and of some float formats, hold F::runs runs of F::block weights; scale<i>()
   and codes<i>(), or values(at, first weight), then get the whole block. */
template <class F>
constexpr int runs_of() {
  if constexpr (requires { F::runs; }) return F::runs;
  else return 1;
}
template <class F>
constexpr int kRuns = runs_of<F>();

/* Where the block of a row's run lies. */
template <class F>
PACOS_INLINE int64_t block_offset(int64_t run) { return run / kRuns<F> * F::bytes; }

template <class F, int i>
PACOS_INLINE float scale_of(const uint8_t* block) {
  if constexpr (kRuns<F> > 1) return F::template scale<i>(block);
  else return F::scale(block);
}

/* What codes<i>() of a 256-weight format wants: F::open() does what the eight calls share, if there is something. */
template <class F>
concept Opens = requires(const uint8_t* block) { F::open(block); };
template <class F>
PACOS_INLINE auto opened(const uint8_t* block) {
  if constexpr (Opens<F>) return F::open(block);
  else return block;
}

/* 8-bit codes are signed bytes where codes<i>() gives them; F::bias and F::top are those of code + 128. */
template <class F>
constexpr bool kByteCodes = F::top > 127;
template <class F, int i, class Opened>
PACOS_INLINE U8x32 unsigned_codes(const Opened& block) {
  if constexpr (kByteCodes<F>) return (U8x32)F::template codes<i>(block) ^ splat(F::bias);
  else return F::template codes<i>(block);
}
template <class F, int i, class Opened>
PACOS_INLINE S8x32 signed_codes(const Opened& block) {
  if constexpr (kByteCodes<F>) return F::template codes<i>(block);
  else return (S8x32)(F::template codes<i>(block) - splat(F::bias));
}

/* Calls body<0>() to body<count - 1>(). */
template <int count, int i = 0, class Body>
PACOS_INLINE void repeat(const Body& body) {
  body.template operator()<i>();
  if constexpr (i + 1 < count) repeat<count, i + 1>(body);
}

/* Finds a format by its type id; PACOS_FORMAT at the end of each cpu.hpp enters it. */
template <int id>
struct FormatOf {
  using type = void;
};
#define PACOS_FORMAT(name) \
  template <>              \
  struct FormatOf<name::type_id> { \
    using type = name;     \
  };

}  // namespace pacos::PACOS_ISA
