/* packing.hpp: floats become blocks of a file. Each format's pack.hpp gives the bytes of its `quantize` in __init__.py,
   which are ggml's; PACOS_PACKER at its end enters it.

   Included once by each file of an instruction set, behind search_kernels.hpp. */
#pragma once
#include "backends/cpu/vector.hpp"
#include "quants/coding.hpp"

namespace pacos {
namespace PACOS_ISA {

/* Finds a packer by its type id. */
template <int id>
struct PackerOf {
  using type = void;
};
#define PACOS_PACKER(name) \
  template <>              \
  struct PackerOf<name::type_id> { \
    using type = name;     \
  };

PACOS_INLINE uint16_t half_bits(float x) {
#if defined(__F16C__)
  return (uint16_t)_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__aarch64__)
  const __fp16 half = (__fp16)x;
  return load<uint16_t>(&half);
#else
  const uint32_t sign = load<uint32_t>(&x) >> 16 & 0x8000, size = magnitude_bits(x);
  if (size > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x3ff));
  if (size >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
  if (size < 0x38800000) {   // below the normal ones 2^-24 is the unit, and the addition rounds
    const float shifted = load<float>(&size) + 0.5f;
    return (uint16_t)(sign | (load<uint32_t>(&shifted) - 0x3f000000));
  }
  return (uint16_t)(sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13);
#endif
}

PACOS_INLINE void put_half(uint8_t* to, float x) { store(to, half_bits(x)); }

/* 2 n codes: the first n in the low nibbles, the others in the high ones. */
template <int n>
PACOS_INLINE void put_nibbles(uint8_t* to, const uint8_t* codes) {
  for (int i = 0; i < n; i++) to[i] = (uint8_t)((codes[i] & 15) | codes[n + i] << 4);
}

/* Bit `from` of 32 codes. */
template <int from>
PACOS_INLINE void put_bits(uint8_t* to, const uint8_t* codes) {
  const U8x32 v = load<U8x32>(codes);
#if defined(__AVX2__)
  store(to, (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16((__m256i)v, 7 - from)));
#else
  const U8x32 one = move_bit<from, 0>(v);
  uint32_t bits = 0;
  for (int i = 0; i < 4; i++) bits |= (uint32_t)((((U64x4)one)[i] * 0x0102040810204080u) >> 56) << 8 * i;
  store(to, bits);
#endif
}

/* -1, 0 and 1 as 0, 1 and 2, nearest to numbers whose largest magnitude is returned. */
template <int n>
PACOS_INLINE float ternary(const float* x, uint8_t* codes) {
  const float d = __builtin_fabsf(largest_magnitude<n>(x)), id = inverse(d);
  for (int i = 0; i < n; i++) {
    const float scaled = x[i] * id;
    codes[i] = (uint8_t)(1 + (scaled >= 0.5f ? 1 : 0) - (scaled <= -0.5f ? 1 : 0));
  }
  return d;
}

/* Codes of four-bit floats: 8 is the sign, the others count the middles between magnitudes that a number exceeds. */
template <int n>
PACOS_INLINE void four_bit_floats(const float* x, float step, uint8_t* codes) {
  constexpr float middles[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5.0f, 7.0f, 10.0f};   // of doubled values
  int32_t wide[n] = {};
  for (int k = 0; k < 7; k++)
    for (int i = 0; i < n; i++) wide[i] += __builtin_fabsf(x[i]) > middles[k] * step ? 1 : 0;
  for (int i = 0; i < n; i++) wide[i] = wide[i] + ((wide[i] > 0) & (x[i] < 0.0f) ? 8 : 0);
  for (int i = 0; i < n; i++) codes[i] = (uint8_t)(step > 0.0f ? wide[i] : 0);
}

/* ---- blocks of 256 in groups, whose scales share a factor ---- */

PACOS_INLINE float through_half(float x) { return half_to_float(half_bits(x)); }

/* The nearest whole number within low and high; NaN becomes low. */
PACOS_INLINE float nearest(float x, float low, float high) {
  const float within = x > low ? (x < high ? x : high) : low;
  return (within + 12582912.0f) - 12582912.0f;   // 1.5 * 2^23: adding it rounds to a whole number
}

/* The codes that are nearest to a group under its step, which are `above` higher than the numbers they stand for. A step of
   zero leaves the codes as they were found. */
template <int n>
PACOS_INLINE void recode(const float* x, float step, float shift, float low, float high, float above, uint8_t* codes) {
  if (step == 0.0f) return;
  int32_t wide[n];
  for (int i = 0; i < n; i++) wide[i] = (int32_t)(nearest((x[i] + shift) / step, low, high) + above);
  for (int i = 0; i < n; i++) codes[i] = (uint8_t)wide[i];
}

/* What maps the scale of largest magnitude to -top, or zero for a block of zeros. */
PACOS_INLINE float shared_factor(const float* scales, float top) {
  const float peak = largest_magnitude<16>(scales);
  return __builtin_fabsf(peak) < kTiny ? 0.0f : -top / peak;
}

/* Codes of two bits in planes of 32. */
PACOS_INLINE void put_pairs_of_bits(uint8_t* to, const uint8_t* codes) {
  for (int part = 0; part < 2; part++)
    for (int i = 0; i < 32; i++) {
      const uint8_t* code = codes + 128 * part + i;
      to[32 * part + i] = (uint8_t)((code[0] & 3) | (code[32] & 3) << 2 | (code[64] & 3) << 4 | code[96] << 6);
    }
}

/* Factor and whole numbers up to `top` of `n` scales of zero or more. */
template <int n>
PACOS_INLINE float share(const float* scales, float top, uint8_t* coded) {
  float most = scales[0];
  for (int i = 1; i < n; i++) most = scales[i] > most ? scales[i] : most;
  const float times = top / (most > 0.0f ? most : 1.0f);
  for (int i = 0; i < n; i++) coded[i] = (uint8_t)(int32_t)nearest(scales[i] * times, 0.0f, top);
  return through_half(most / top);
}

/* Q4_K's and Q5_K's header of 16 bytes, and their codes up to `top`. */
PACOS_INLINE void pack_six_bit_groups(const float* x, int32_t top, float first, int32_t steps, uint8_t* to, uint8_t* codes) {
  float weights[256], scales[8], minimums[8];
  F sums[LANES];   // of squares, in order of the weights
  for (int g = 0; g < 8; g += LANES) {
    F lanes[32], sum{};
    ::gather(x + 32 * g, 0, LANES, 32, lanes);
    sum = lanes[0] * lanes[0];
    for (int i = 1; i < 32; i++) sum += lanes[i] * lanes[i];
    sums[g / LANES] = sum;
  }
  for (int g = 0; g < 8; g++) {
    const float root = __builtin_sqrtf(sums[g / LANES][g % LANES] / 32.0f);
    for (int i = 0; i < 32; i++) weights[32 * g + i] = root + __builtin_fabsf(x[32 * g + i]);
  }
  ::scale_and_minimum(x, weights, 8, 32, {top, first, 0.1f, steps, false}, scales, minimums, codes);
  uint8_t coded[8], coded_minimums[8];
  const float d = share<8>(scales, 63.0f, coded), dmin = share<8>(minimums, 63.0f, coded_minimums);
  for (int g = 0; g < 8; g++)
    recode<32>(x + 32 * g, d * coded[g], dmin * coded_minimums[g], 0.0f, (float)top, 0.0f, codes + 32 * g);
  put_half(to, d);
  put_half(to + 2, dmin);
  for (int g = 0; g < 4; g++) {
    to[4 + g] = (uint8_t)(coded[g] | coded[g + 4] >> 4 << 6);
    to[8 + g] = (uint8_t)(coded_minimums[g] | coded_minimums[g + 4] >> 4 << 6);
    to[12 + g] = (uint8_t)((coded[g + 4] & 15) | (coded_minimums[g + 4] & 15) << 4);
  }
}

/* IQ4_NL's and IQ4_XS's scales of 32 weights each, and the levels that are nearest. */
constexpr float kNonlinearFloats[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
template <int groups>
PACOS_INLINE void nonlinear_scales(const float* x, float* scales) {
  float weights[32 * groups];
  for (int i = 0; i < 32 * groups; i++) weights[i] = x[i] * x[i];
  ::level_scale(x, weights, groups, 32, kNonlinearFloats, 16, 7, scales);
}
PACOS_INLINE void nearest_nonlinear(const float* x, float inverse, uint8_t* codes) {
  int32_t wide[32] = {};
  for (int k = 1; k < 16; k++)
    for (int i = 0; i < 32; i++) wide[i] += inverse * x[i] >= (kNonlinearFloats[k] + kNonlinearFloats[k - 1]) / 2.0f ? 1 : 0;
  for (int i = 0; i < 32; i++) codes[i] = (uint8_t)wide[i];
}

}  // namespace PACOS_ISA
}  // namespace pacos

#include "pacos_packers.inc"

namespace pacos {
namespace PACOS_ISA {

static bool all_finite(const float* x, int64_t n) {
  uint32_t most = 0;
  for (int64_t i = 0; i < n; i++) most = magnitude_bits(x[i]) > most ? magnitude_bits(x[i]) : most;
  return most < 0x7f800000;
}

/* Whole blocks of n floats; -1 for a type without a packer. */
template <int id = 0>
int32_t pack(int32_t type, const float* x, int64_t n, uint8_t* to) {
  if constexpr (id == 64) {
    return -1;
  } else {
    using P = typename PackerOf<id>::type;
    if constexpr (!__is_same(P, void)) {
      if (type == id) {
        int64_t i = 0;
        if constexpr (requires { P::many; })   // floats that are quicker together
          for (; i + P::many <= n; i += P::many) P::pack_many(x + i, to + i / P::block * P::bytes);
        for (; i < n; i += P::block) P::pack(x + i, to + i / P::block * P::bytes);
        return 0;
      }
    }
    return pack<id + 1>(type, x, n, to);
  }
}

}  // namespace PACOS_ISA
}  // namespace pacos
