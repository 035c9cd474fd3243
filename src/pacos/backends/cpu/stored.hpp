/* stored.hpp: how keys and values lie in pages, and how sixteen of them become floats.

   Each storage type gives the same interface. Keys of a head in a page are groups of 16 keys: key_steps() gives up to 16
   steps e, e + 1, ... whose lanes are the keys of one group. Values of a head are runs of 16 features: value_steps()
   gives steps by key whose lanes are features. A step's lanes are the stored numbers, exactly: scale * code of every block
   format here fits a float (or is rounded once, as ggml's dequantisation rounds it), so arithmetic knows no types.

   Block formats hold 32 numbers of one token and head side by side in a file. Here such blocks form slabs of n steps x 32:
   a group's 16 keys (n = 16 steps of e, then another 16) or all keys of a page (n = page_tokens steps, lanes are features):
   [n] scales f16 | [n] minimums f16 | fifth bits, 4 n bytes | codes. 8-bit codes are [2][n][16]; 4-bit codes are [n][16],
   the low nibble first half, the high one second. A slab has as many bytes as its blocks have. Fifth bits of keys are
   [n / 4][16] bytes, bit 2 (step % 4) + half; those of values [n][2] of 16 bits each: so that every byte belongs to one
   token, and threads can store different tokens at once. */
#pragma once
#include "backends/cpu/lanes.hpp"
#include "backends/cpu/row_kernels.hpp"
#include "quants/coding.hpp"

namespace pacos {
namespace PACOS_ISA {

struct Range { int64_t begin, end; };

PACOS_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
PACOS_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- numbers one by one ---- */

template <class T>
struct Plain {
  static constexpr bool coded = false;
  static constexpr int64_t bytes(int64_t numbers) { return numbers * static_cast<int64_t>(sizeof(T)); }

  struct Steps {
    const T* from;
    int64_t stride;
    PACOS_METHOD f32x16 at(int64_t step) const { return load(from + step * stride); }
  };
  using KeySteps = Steps;
  using ValueSteps = Steps;

  PACOS_INLINE Steps key_steps(const uint8_t* head, int64_t E, int64_t group, int64_t e) {
    return {reinterpret_cast<const T*>(head) + (group * E + e) * kLanes, kLanes};
  }
  /* [F / 16][page_tokens][16], then [page_tokens][F % 16], whose loads run into the next key: those lanes are dropped. */
  PACOS_INLINE void value_steps(const uint8_t* head, int64_t page_tokens, int64_t F, int64_t f, Range, Steps& steps) {
    steps = {reinterpret_cast<const T*>(head) + f * page_tokens, smaller(kLanes, F - f)};
  }
};

PACOS_INLINE void put(float* to, const float* from, int64_t n) { std::memcpy(to, from, static_cast<size_t>(n) * 4); }
PACOS_INLINE void put(uint16_t* to, const float* from, int64_t n) {
  uint16_t lanes[kLanes];
  store(lanes, load_part(from, n));
  std::memcpy(to, lanes, static_cast<size_t>(n) * 2);
}
PACOS_INLINE void put(Bf16* to, const float* from, int64_t n) {   // to nearest, ties to even; NaN stays one
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    std::memcpy(&bits, from + i, 4);
    const bool number = (bits & 0x7fffffff) <= 0x7f800000;
    to[i].bits = static_cast<uint16_t>(number ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : bits >> 16 | 64);
  }
}

template <class T>
PACOS_INLINE void append_key(Plain<T>, const float* k, uint8_t* head, int64_t slot, int64_t E) {
  T* out = reinterpret_cast<T*>(head) + slot / kLanes * E * kLanes + slot % kLanes;   // [E][16 keys]
  for (int64_t e = 0; e < E; e += kLanes) {
    const int64_t n = smaller(kLanes, E - e);
    T lanes[kLanes];
    put(lanes, k + e, n);
    for (int64_t i = 0; i < n; i++) out[(e + i) * kLanes] = lanes[i];
  }
}

template <class T>
PACOS_INLINE void append_value(Plain<T>, const float* v, uint8_t* head, int64_t slot, int64_t F, int64_t page_tokens) {
  for (int64_t f = 0; f < F; f += kLanes) {
    const int64_t n = smaller(kLanes, F - f);
    put(reinterpret_cast<T*>(head) + f * page_tokens + slot * n, v + f, n);
  }
}

/* ---- blocks of 32 with a scale ---- */

constexpr int64_t kBlock = 32, kMostPageTokens = 256;

template <class Format>
struct Coded {
  static constexpr bool coded = true;
  static constexpr int kBits = Format::bits;
  static constexpr int64_t block_bytes = 2 + 2 * Format::has_min + (kBits == 8 ? 32 : 16) + (kBits == 5 ? 4 : 0);
  static constexpr int64_t bytes(int64_t numbers) { return numbers / kBlock * block_bytes; }
  static constexpr int64_t mins_at(int64_t n) { return 2 * n; }
  static constexpr int64_t fifth_at(int64_t n) { return 2 * n * (1 + Format::has_min); }
  static constexpr int64_t codes_at(int64_t n) { return fifth_at(n) + (kBits == 5 ? 4 * n : 0); }

  PACOS_INLINE u8x16 low_codes(const uint8_t* row, int half) {
    if constexpr (kBits == 8) return load(row);
    else return bits_at(load(row), 4 * half, 15);
  }
  PACOS_INLINE f32x16 number(u8x16 code, f32x16 d, f32x16 m) {
    const f32x16 x = signed_floats(Format::meant(code));
    if constexpr (Format::has_min) return fma(x, d, m);
    else return x * d;   // registers for minimums of zero would push sums into memory
  }

  struct KeySteps {
    const uint8_t *codes, *fifth;
    int half;
    f32x16 d, m;
    PACOS_METHOD f32x16 at(int64_t step) const {
      u8x16 code = low_codes(codes + step * kLanes, half);
      if constexpr (kBits == 5)
        code = code | times16(bits_at(load(fifth + step / 4 * kLanes), 2 * static_cast<int>(step % 4) + half, 1));
      return number(code, d, m);
    }
  };
  struct ValueSteps {
    const uint8_t *codes, *fifth;
    int half;
    float d[kMostPageTokens], m[Format::has_min ? kMostPageTokens : 1];
    PACOS_METHOD f32x16 at(int64_t key) const {
      u8x16 code = low_codes(codes + key * kLanes, half);
      if constexpr (kBits == 5) {
        uint16_t bits;
        std::memcpy(&bits, fifth + (2 * key + half) * 2, 2);
        code = code | spread_to_16(bits);
      }
      return number(code, splat(d[key]), splat(m[Format::has_min ? key : 0]));
    }
  };

  PACOS_INLINE KeySteps key_steps(const uint8_t* head, int64_t E, int64_t group, int64_t e) {
    const uint8_t* slab = head + (group * E + e) / kBlock * kLanes * block_bytes;
    const int half = static_cast<int>(e / kLanes % 2);
    const uint16_t* scales = reinterpret_cast<const uint16_t*>(slab);
    return {slab + codes_at(kLanes) + (kBits == 8 ? half * kLanes * kLanes : 0), slab + fifth_at(kLanes), half, load(scales),
            Format::has_min ? load(scales + kLanes) : splat(0.0f)};
  }
  /* In place: to return so much is to copy it. */
  PACOS_INLINE void value_steps(const uint8_t* head, int64_t page_tokens, int64_t, int64_t f, Range keys, ValueSteps& steps) {
    const uint8_t* slab = head + f / kBlock * page_tokens * block_bytes;
    const int half = static_cast<int>(f / kLanes % 2);
    steps.codes = slab + codes_at(page_tokens) + (kBits == 8 ? half * page_tokens * kLanes : 0);
    steps.fifth = slab + fifth_at(page_tokens);
    steps.half = half;
    for (int64_t key = keys.begin / kLanes * kLanes; key < keys.end; key += kLanes) {
      store(steps.d + key, load(reinterpret_cast<const uint16_t*>(slab) + key));
      if constexpr (Format::has_min)
        store(steps.m + key, load(reinterpret_cast<const uint16_t*>(slab + mins_at(page_tokens)) + key));
    }
  }
};

/* Each format says what its codes stand for, as signed bytes: meant(). */
template <int BITS>
struct Centred {
  static constexpr int bits = BITS;
  static constexpr bool has_min = false;
  PACOS_INLINE u8x16 meant(u8x16 codes) { return minus(codes, 1 << (BITS - 1)); }
  static void encode(const float* x, Codes& codes) { encode_centred<BITS>(x, codes); }
};

template <int BITS>
struct Affine {
  static constexpr int bits = BITS;
  static constexpr bool has_min = true;
  PACOS_INLINE u8x16 meant(u8x16 codes) { return codes; }
  static void encode(const float* x, Codes& codes) { encode_affine<BITS>(x, codes); }
};

struct Signed8 {
  static constexpr int bits = 8;
  static constexpr bool has_min = false;
  PACOS_INLINE u8x16 meant(u8x16 codes) { return codes; }
  static void encode(const float* x, Codes& codes) { encode_signed8(x, codes); }
};

struct Nonlinear4 {   // w = d level[code]
  static constexpr int bits = 4;
  static constexpr bool has_min = false;
  static constexpr int8_t level[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

  PACOS_INLINE u8x16 meant(u8x16 codes) { return look_up(load(reinterpret_cast<const uint8_t*>(level)), codes); }
  /* The nearest level or its code; halves between two levels go up. */
  template <bool is_code>
  PACOS_INLINE f32x16 nearest(f32x16 x) {
    f32x16 found = splat(static_cast<float>(is_code ? 0 : level[0]));
#pragma GCC unroll 16
    for (int i = 1; i < 16; i++) {
      const f32x16 middle = splat(static_cast<float>(level[i - 1] + level[i]) / 2);
      found = select_less(x, middle, found, splat(static_cast<float>(is_code ? i : level[i])));
    }
    return found;
  }
  /* The scale that loses least by squares weighted by x * x, of a few that `nonlinear_scale` of quants/levels.py tries. */
  static float scale(const float* x) {
    const float peak = largest_magnitude<kBlock>(x);
    if (__builtin_fabsf(peak) < 1e-15f) return 0.0f;
    const f32x16 low = load(x), high = load(x + kLanes), low2 = low * low, high2 = high * high;
    const f32x16 low3 = low2 * low, high3 = high2 * high;
    float best = 0.0f, d = 0.0f;
    constexpr int shifts[] = {0, -6, -3, 3, 6};
    for (const int shift : shifts) {
      const f32x16 id = splat(static_cast<float>(level[0] + shift) / peak);
      const f32x16 a = nearest<false>(low * id), b = nearest<false>(high * id);
      const float match = sum(low3 * a + high3 * b), norm = sum(low2 * (a * a) + high2 * (b * b));
      if (!(norm > 0.0f && match * match > best * norm)) continue;
      d = match / norm;
      best = d * match;
    }
    return d;
  }
  static void encode(const float* x, Codes& codes) {
    codes.d = scale(x);
    for (int i = 0; i < kBlock; i += kLanes) {
      float code[kLanes];
      store(code, nearest<true>(codes.d != 0.0f ? load(x + i) / splat(codes.d) : splat(0.0f)));
      for (int j = 0; j < kLanes; j++) codes.code[i + j] = static_cast<uint8_t>(code[j]);
    }
  }
};

PACOS_INLINE uint16_t half_of(float x) {
  uint16_t lanes[kLanes];
  store(lanes, splat(x));
  return lanes[0];
}

template <class Format>
PACOS_INLINE void put_scales(uint8_t* slab, int64_t n, int64_t at, const Codes& codes) {
  reinterpret_cast<uint16_t*>(slab)[at] = half_of(codes.d);
  if constexpr (Format::has_min) reinterpret_cast<uint16_t*>(slab)[n + at] = half_of(codes.m);
}
PACOS_INLINE uint8_t nibbles(const Codes& codes, int64_t i) {
  return static_cast<uint8_t>((codes.code[i] & 15) | codes.code[kLanes + i] << 4);
}

template <class Format>
static void append_key(Coded<Format>, const float* k, uint8_t* head, int64_t slot, int64_t E) {
  using S = Coded<Format>;
  const int64_t n = kLanes, lane = slot % kLanes;
  uint8_t* slab = head + slot / kLanes * S::bytes(E * kLanes);
  for (int64_t e = 0; e < E; e += kBlock, slab += S::bytes(kBlock * kLanes)) {
    Codes codes;
    Format::encode(k + e, codes);
    put_scales<Format>(slab, n, lane, codes);
    uint8_t* out = slab + S::codes_at(n) + lane;
    for (int64_t i = 0; i < (S::kBits == 8 ? 2 * n : n); i++) out[i * kLanes] = S::kBits == 8 ? codes.code[i] : nibbles(codes, i);
    for (int64_t quad = 0; S::kBits == 5 && quad < n / 4; quad++) {
      int bits = 0;
      for (int64_t i = 0; i < 8; i++) bits |= (codes.code[i % 2 * kLanes + quad * 4 + i / 2] >> 4) << i;
      slab[S::fifth_at(n) + quad * kLanes + lane] = static_cast<uint8_t>(bits);
    }
  }
}

template <class Format>
static void append_value(Coded<Format>, const float* v, uint8_t* head, int64_t slot, int64_t F, int64_t page_tokens) {
  using S = Coded<Format>;
  const int64_t n = page_tokens;
  uint8_t* slab = head;
  for (int64_t f = 0; f < F; f += kBlock, slab += S::bytes(kBlock * n)) {
    Codes codes;
    Format::encode(v + f, codes);
    put_scales<Format>(slab, n, slot, codes);
    for (int64_t half = 0; half < 2; half++) {
      const uint8_t* code = codes.code + half * kLanes;
      uint8_t* out = slab + S::codes_at(n) + (S::kBits == 8 ? half * n + slot : slot) * kLanes;
      uint16_t bits = 0;
      for (int64_t i = 0; i < kLanes; i++) {
        out[i] = S::kBits == 8 ? code[i] : nibbles(codes, i);
        bits = static_cast<uint16_t>(bits | (code[i] >> 4 & 1) << i);
      }
      if constexpr (S::kBits == 5) std::memcpy(slab + S::fifth_at(n) + (2 * slot + half) * 2, &bits, 2);
    }
  }
}

/* ---- a whole page as floats, in the layout of float pages ---- */

template <class T>
static void widen_keys(Plain<T>, const uint8_t* head, int64_t E, int64_t page_tokens, float* to) {
  for (int64_t i = 0; i < E * page_tokens; i += kLanes) store(to + i, load(reinterpret_cast<const T*>(head) + i));
}
template <class T>
static void widen_values(Plain<T> stored, const uint8_t* head, int64_t F, int64_t page_tokens, float* to) {
  widen_keys(stored, head, F, page_tokens, to);
}
template <class Format>
static void widen_keys(Coded<Format>, const uint8_t* head, int64_t E, int64_t page_tokens, float* to) {
  for (int64_t group = 0; group < page_tokens / kLanes; group++)
    for (int64_t e = 0; e < E; e += kLanes) {
      const auto steps = Coded<Format>::key_steps(head, E, group, e);
      for (int64_t i = 0; i < kLanes; i++, to += kLanes) store(to, steps.at(i));
    }
}
template <class Format>
static void widen_values(Coded<Format>, const uint8_t* head, int64_t F, int64_t page_tokens, float* to) {
  for (int64_t f = 0; f < F; f += kLanes) {
    typename Coded<Format>::ValueSteps steps;
    Coded<Format>::value_steps(head, page_tokens, F, f, {0, page_tokens}, steps);
    for (int64_t key = 0; key < page_tokens; key++, to += kLanes) store(to, steps.at(key));
  }
}

/* ---- by type ---- */

/* f(Plain<T>() or Coded<Format>()) for a storage type. */
template <class F>
PACOS_INLINE void with_stored(int32_t type, F f) {
  switch (type) {
    case STORE_F32: f(Plain<float>()); break;
    case STORE_F16: f(Plain<uint16_t>()); break;
    case STORE_BF16: f(Plain<Bf16>()); break;
    case STORE_Q8_0: f(Coded<Signed8>()); break;
    case STORE_Q4_0: f(Coded<Centred<4>>()); break;
    case STORE_Q4_1: f(Coded<Affine<4>>()); break;
    case STORE_Q5_0: f(Coded<Centred<5>>()); break;
    case STORE_Q5_1: f(Coded<Affine<5>>()); break;
    case STORE_IQ4_NL: f(Coded<Nonlinear4>()); break;
  }
}

}  // namespace PACOS_ISA
}  // namespace pacos
