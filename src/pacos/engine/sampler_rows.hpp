/* sampler_rows.hpp: what the sampler does to every logit of a row, one table of functions per instruction set.

   `far` is the distance of a logit below the best one, f32; a weight is e to the minus that, rounded to a whole multiple
   of 1 / (2^52 / step), so that sums of a row's weights are exact in any order. */
#pragma once
#include <stdint.h>

namespace pacos::sampling {

constexpr int32_t kMaximaBlock = 128;  // logits per entry of `maxima`
constexpr int32_t kSumsBlock = 1024;   // logits per entry of `sums`

struct RowKernels {
  // The largest logit and that of each block; false when one is NaN or +inf.
  bool (*scan)(const float* x, int32_t n, float* maxima, float* best);
  // Sums of weights, one for each block; returns that of all.
  double (*sum)(const float* x, int32_t n, float best, double step, double* sums);
  void (*weigh)(const float* x, int32_t n, float best, double step, double* weights);
  // The sum of weights times far, rounded as weights are: what an entropy is made of.
  double (*sum_products)(const float* x, int32_t n, float best, double step);
  void (*divide)(const float* x, int32_t n, float by, float* out);
  // Copy the logits with far <= reach and their ids; ids null: places are ids; maxima, unless null, skip blocks.
  // The results may replace the operands; they have room for n, rounded up to 16. Returns how many there are.
  int32_t (*gather)(const float* x, const int32_t* ids, int32_t n, float best, float reach, const float* maxima,
                    float* x_out, int32_t* ids_out);
};

extern const RowKernels rows_baseline;
#if defined(__x86_64__)
extern const RowKernels rows_avx2;
#endif

}  // namespace pacos::sampling
