// Searches of scales and packing: the functions of pacos.h over the best table of kernels.
#include "backends/cpu/kernels.hpp"
#include "native/pacos.h"
#include "quants/search.hpp"

namespace {

using pacos::search::best;
using pacos::search::kGroupMax;

bool fits(int64_t groups, int32_t n) { return groups >= 0 && n > 0 && n <= kGroupMax; }

}  // namespace

const pacos::search::Kernels& pacos::search::best() {
#if defined(__x86_64__)
  static const Kernels& found = pacos_cpu_isa("avx2") != nullptr ? kernels_avx2 : kernels_baseline;
  return found;
#else
  return kernels_baseline;
#endif
}

int32_t pacos_search_scale_and_minimum(const float* x, const float* weights, int64_t groups, int32_t n, int32_t top,
                                       float first, float step, int32_t steps, int32_t absolute, float* scales,
                                       float* minimums, uint8_t* codes) {
  if (!fits(groups, n)) return -1;
  best().scale_and_minimum(x, weights, groups, n, {top, first, step, steps, absolute != 0}, scales, minimums, codes);
  return 0;
}

int32_t pacos_search_signed_scale(const float* x, const float* weights, int64_t groups, int32_t n, int32_t half,
                                  float* scales, uint8_t* codes) {
  if (!fits(groups, n)) return -1;
  best().signed_scale(x, weights, groups, n, half, scales, codes);
  return 0;
}

int32_t pacos_search_refined_scale(const float* x, const float* weights, int64_t groups, int32_t n, int32_t half,
                                   float* scales, uint8_t* codes) {
  if (!fits(groups, n)) return -1;
  best().refined_scale(x, weights, groups, n, half, scales, codes);
  return 0;
}

int32_t pacos_search_positive_scale(const float* x, const float* weights, int64_t groups, int32_t n, int32_t top,
                                    float* scales, uint8_t* codes) {
  if (!fits(groups, n)) return -1;
  best().positive_scale(x, weights, groups, n, top, scales, codes);
  return 0;
}

int32_t pacos_search_level_scale(const float* x, const float* weights, int64_t groups, int32_t n, const float* levels,
                                 int32_t count, int32_t tries, float* scales) {
  if (!fits(groups, n) || count < 1) return -1;
  best().level_scale(x, weights, groups, n, levels, count, tries, scales);
  return 0;
}

int32_t pacos_pack(int32_t type, const float* x, int64_t n, void* to) {
  return n < 0 ? -1 : best().pack(type, x, n, static_cast<uint8_t*>(to));
}

int32_t pacos_repack(int32_t from, const void* src, int32_t to, void* dst, int64_t n) {
  constexpr int64_t kTogether = 2048;  // whole blocks of every type, and within the nearest cache as floats
  const pacos::Kernels* kernels = pacos::find_kernels(nullptr);
  const pacos::FormatFacts *source = pacos::format_facts(from), *target = pacos::format_facts(to);
  if (!source || !target || n < 0 || n % source->block || n % target->block) return -1;
  float x[kTogether];
  const auto* in = static_cast<const uint8_t*>(src);
  auto* out = static_cast<uint8_t*>(dst);
  for (int64_t at = 0; at < n; at += kTogether) {
    const int64_t count = n - at < kTogether ? n - at : kTogether;
    kernels->dequantize_row(from, in + at / source->block * source->block_bytes, x, count);
    if (!best().all_finite(x, count)) return -2;
    if (best().pack(to, x, count, out + at / target->block * target->block_bytes) != 0) return -1;
  }
  return 0;
}
