// From rows of hidden states to one vector: sums in order of the tokens, then a norm. See pooling.py.
#include <cmath>

#include "pacos.h"

namespace {

double norm_of(const double* x, int64_t n, int32_t kind) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    const double size = std::fabs(x[i]);
    if (kind == 0) sum = size > sum ? size : sum;
    else sum += kind == 1 ? size : kind == 2 ? size * size : std::pow(size, kind);
  }
  if (kind == 0) return sum / 32760.0;   // the largest becomes 32760, for 16-bit integers
  return kind == 1 ? sum : kind == 2 ? std::sqrt(sum) : std::pow(sum, 1.0 / kind);
}

}  // namespace

void pacos_rows_add(const float* rows, int64_t count, int64_t width, double* sums) {
  for (int64_t row = 0; row < count; row++)
    for (int64_t i = 0; i < width; i++) sums[i] += static_cast<double>(rows[row * width + i]);
}

int32_t pacos_normalize(double* x, int64_t width, double divisor, int32_t kind, float* y) {
  for (int64_t i = 0; i < width; i++) {
    x[i] /= divisor;
    if (!std::isfinite(x[i])) return -1;
  }
  const double norm = kind < 0 ? 1.0 : norm_of(x, width, kind);
  for (int64_t i = 0; i < width; i++) y[i] = norm > 0 ? static_cast<float>(x[i] / norm) : 0.0f;
  return 0;
}
