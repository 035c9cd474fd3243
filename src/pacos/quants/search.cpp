// Searches of scales: the functions of pacos.h over the best table of kernels.
#include "native/pacos.h"
#include "quants/search.hpp"

namespace {

using pacos::search::Kernels;
using pacos::search::kGroupMax;

const Kernels& best() {
#if defined(__x86_64__)
  static const Kernels& found =
      pacos_cpu_isa("avx2") != nullptr ? pacos::search::kernels_avx2 : pacos::search::kernels_baseline;
  return found;
#else
  return pacos::search::kernels_baseline;
#endif
}

bool fits(int64_t groups, int32_t n) { return groups >= 0 && n > 0 && n <= kGroupMax; }

}  // namespace

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
