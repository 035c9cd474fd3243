/* decode.hpp: blocks of any format as plain numbers, and as floats. Only this knows a format; what follows is the same
   code for all of them. */
#pragma once
#include "formats.hpp"

namespace pacos::PACOS_ISA {

/* One block of a file. A run is 32 weights with a scale of their own, or 256 with 16 scales of 16. */
struct Decoded {
  alignas(64) uint8_t codes[256];
  float d[8], m[8];   // of each run; m (of the minimums) where the format has them
  alignas(32) int16_t scales[16], mins[16];   // of 256-weight formats
};

struct Decoder {
  int32_t block, bytes, run, bias;   // of a block of the file; run is 1 for float formats
  bool has_min;
  void (*decode)(const uint8_t* block, Decoded& out);             // null for float formats
  void (*widen)(const uint8_t* weights, float* to, int64_t n);    // of float formats
};

template <class F>
static void decode_of(const uint8_t* at, Decoded& out) {
  const auto open = opened<F>(at);
  repeat<F::block / 32 * kRuns<F>>([&]<int i>() PACOS_INLINED { store(out.codes + 32 * i, unsigned_codes<F, i>(open)); });
  if constexpr (F::block == 256) {
    const Header h = F::header(at);
    out.d[0] = h.d, out.m[0] = h.dmin;
    store(out.scales, h.scales);
    store(out.mins, h.mins);
  } else {
    repeat<kRuns<F>>([&]<int i>() PACOS_INLINED { out.d[i] = scale_of<F, i>(at); });
    if constexpr (F::has_min) out.m[0] = F::minimum(at);
  }
}

template <class F>
static void widen_of(const uint8_t* at, float* to, int64_t n) {
  if constexpr (kRuns<F> == 1) {
    const int64_t whole = n & ~15ll;
    for (int64_t k = 0; k < whole; k += 16) store16(to + k, F::values(at + k * F::bytes));
    for (int64_t k = whole; k < n; k++) to[k] = F::value(at + k * F::bytes);
  } else {
    for (int64_t k = 0; k < n; k += kRuns<F>, at += F::bytes)
      for (int i = 0; i < kRuns<F>; i += 16) store16(to + k + i, F::values(at, i));
  }
}

static constexpr auto kDecoders = make_table<Decoder>([]<class F>() {
  if constexpr (F::block == 1) return Decoder{kRuns<F>, F::bytes, 1, 0, false, nullptr, widen_of<F>};
  else return Decoder{F::block * kRuns<F>, F::bytes, F::block, F::bias, F::has_min, decode_of<F>, nullptr};
});

static void dequantize_row(int32_t type, const void* src, float* dst, int64_t n) {
  const Decoder& format = kDecoders.entry[type];
  const uint8_t* at = (const uint8_t*)src;
  if (format.widen) return format.widen(at, dst, n);
  Decoded decoded;
  for (int64_t k = 0; k < n; k += format.block, at += format.bytes) {
    format.decode(at, decoded);
    for (int first = 0; first < format.block; first += 16) {
      const int run = format.run == 32 ? first / 32 : 0;
      float d = decoded.d[run], m = decoded.m[run];
      if (format.run == 256) d *= (float)decoded.scales[first / 16], m *= -(float)decoded.mins[first / 16];
      const uint8_t* codes = decoded.codes + first;
      float* to = dst + k + first;
      if (format.has_min)
        for (int i = 0; i < 16; i++) to[i] = d * (float)codes[i] + m;
      else
        for (int i = 0; i < 16; i++) to[i] = d * (float)(codes[i] - format.bias);
    }
  }
}

}  // namespace pacos::PACOS_ISA
