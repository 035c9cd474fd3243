/* search.hpp: searches of scales of groups of weights, and packing of blocks, one table of functions per instruction set.

   What each search does, and its shapes, stands in quants/search.py under the same name. */
#pragma once
#include <stdint.h>

#include "grid_search.hpp"

namespace pacos::search {

constexpr int32_t kGroupMax = 32;  // weights of a group

// The scales that are tried: (first + step * i + top) / range for i = 0 to steps.
struct Grid {
  int32_t top;
  float first;
  float step;
  int32_t steps;
  bool absolute;
};

struct Kernels {
  void (*scale_and_minimum)(const float* x, const float* weights, int64_t groups, int32_t n, Grid grid, float* scales,
                            float* minimums, uint8_t* codes);
  // of these weights may be null: then errors are weighted by x * x
  void (*signed_scale)(const float* x, const float* weights, int64_t groups, int32_t n, int32_t half, float* scales,
                       uint8_t* codes);
  void (*refined_scale)(const float* x, const float* weights, int64_t groups, int32_t n, int32_t half, float* scales,
                        uint8_t* codes);
  void (*positive_scale)(const float* x, const float* weights, int64_t groups, int32_t n, int32_t top, float* scales,
                         uint8_t* codes);
  void (*level_scale)(const float* x, const float* weights, int64_t groups, int32_t n, const float* levels,
                      int32_t count, int32_t tries, float* scales);
  void (*on_grid)(const CodeGrid& grid, const float* x, const float* weights, const float* peaks, int64_t groups,
                  GridRules rules, float* scales, uint16_t* numbers);
  void (*ternary)(const CodeGrid& grid, const float* x, const float* weights, int64_t groups, int32_t n, bool halves,
                  float tiny, float* scales, uint16_t* numbers, uint8_t* shifts);
  // n floats, whole blocks, as a file of this type has them; -1 for a type that is packed in Python only
  int32_t (*pack)(int32_t type, const float* x, int64_t n, uint8_t* to);
  bool (*all_finite)(const float* x, int64_t n);
};

extern const Kernels kernels_baseline;
#if defined(__x86_64__)
extern const Kernels kernels_avx2;
#endif

// The table of this processor.
const Kernels& best();

}  // namespace pacos::search
