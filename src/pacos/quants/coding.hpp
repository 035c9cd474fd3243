/* coding.hpp: codes of 32 numbers in the plain formats, as ggml's reference quantisation gives them. Pages of keys and
   values (backends/cpu/stored.hpp) and files (quants/packing.hpp) take them from here.

   Included inside no namespace; everything lives in pacos::PACOS_ISA. */
#pragma once
#include <stdint.h>

namespace pacos {
namespace PACOS_ISA {

constexpr int kCoded = 32;

/* Codes as bytes, and their scale and minimum. */
struct Codes {
  uint8_t code[kCoded];
  float d, m;
};

static inline uint32_t magnitude_bits(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits & 0x7fffffffu;
}

/* The number of largest magnitude, the first of several; 0 when all are zeros. As integers, compilers compare many at once. */
template <int n>
static inline float largest_magnitude(const float* x) {
  uint32_t most = 0;
  for (int i = 0; i < n; i++) most = magnitude_bits(x[i]) > most ? magnitude_bits(x[i]) : most;
  if (most == 0) return 0.0f;
  int at = 0;
  while (magnitude_bits(x[at]) != most) at++;
  return x[at];
}

static inline float inverse(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

static inline int32_t truncated(float x, float top) {   // within [0, top]; NaN becomes 0
  return static_cast<int32_t>(x > 0.0f ? (x < top ? x : top) : 0.0f);
}

/* 32 codes that make(i) gives. By way of integers as wide as floats, so that compilers compute eight at once. */
template <class Make>
static inline void put_codes(uint8_t* to, const Make& make) {
  int32_t wide[kCoded];
  for (int i = 0; i < kCoded; i++) wide[i] = make(i);
  for (int i = 0; i < kCoded; i++) to[i] = static_cast<uint8_t>(wide[i]);
}

/* w = d (code - 2^(bits - 1)); the largest magnitude has code 0. */
template <int bits>
static inline void encode_centred(const float* x, Codes& codes) {
  constexpr int centre = 1 << (bits - 1);
  codes.d = largest_magnitude<kCoded>(x) / -static_cast<float>(centre);
  const float id = inverse(codes.d);
  put_codes(codes.code, [=](int i) {
    return truncated(x[i] * id + (static_cast<float>(centre) + 0.5f), static_cast<float>(2 * centre - 1));
  });
}

/* w = d code + m. */
template <int bits>
static inline void encode_affine(const float* x, Codes& codes) {
  constexpr int lanes = 8;
  float lows[lanes], highs[lanes];
  for (int l = 0; l < lanes; l++) lows[l] = highs[l] = x[l];
  for (int i = lanes; i < kCoded; i += lanes)
    for (int l = 0; l < lanes; l++) {
      lows[l] = x[i + l] < lows[l] ? x[i + l] : lows[l];
      highs[l] = x[i + l] > highs[l] ? x[i + l] : highs[l];
    }
  float low = lows[0], high = highs[0];
  for (int l = 1; l < lanes; l++) low = lows[l] < low ? lows[l] : low, high = highs[l] > high ? highs[l] : high;
  if (low == 0.0f) {   // the sign of the first zero is stored
    int at = 0;
    while (x[at] != 0.0f) at++;
    low = x[at];
  }
  constexpr float top = static_cast<float>((1 << bits) - 1);
  codes.m = low;
  codes.d = (high - low) / top;
  const float id = inverse(codes.d);
  put_codes(codes.code, [=](int i) { return truncated((x[i] - low) * id + 0.5f, top); });
}

/* w = d code, code signed; halves are rounded away from zero. */
static inline void encode_signed8(const float* x, Codes& codes) {
  codes.d = __builtin_fabsf(largest_magnitude<kCoded>(x)) / 127.0f;
  const float id = inverse(codes.d);
  put_codes(codes.code, [=](int i) {
    const float scaled = x[i] * id, size = __builtin_fabsf(scaled);
    const int32_t whole = truncated(size, 127.0f), rounded = whole + (size - static_cast<float>(whole) >= 0.5f ? 1 : 0);
    return scaled < 0.0f ? -rounded : rounded;
  });
}

}  // namespace PACOS_ISA
}  // namespace pacos
