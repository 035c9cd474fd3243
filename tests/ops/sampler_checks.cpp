/* Print what a table of the sampler's row kernels makes of rows of many lengths, so that tests can compare the tables of
   two instruction sets bit for bit. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <vector>

#include "engine/sampler_rows.hpp"

using namespace pacos::sampling;

static const RowKernels& tested = PACOS_TESTED_ROWS;
static uint64_t state = 88172645463325252ull, digest = 14695981039346656037ull;

static float number(float size) {   // xorshift
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return (static_cast<float>(state >> 40) / 16777216.0f - 0.5f) * 2 * size;
}

template <class T>
static void digested(const T* values, int64_t count) {
  unsigned char bytes[sizeof(T)];
  for (int64_t i = 0; i < count; i++) {
    memcpy(bytes, values + i, sizeof(T));
    for (unsigned char byte : bytes) digest = (digest ^ byte) * 1099511628211ull;
  }
}

static void check(int32_t n, float size) {
  const size_t room = static_cast<size_t>(n) + 16;
  std::vector<float> x(room), out(room), maxima(room);
  std::vector<double> weights(room), sums(room);
  std::vector<int32_t> ids(room);
  for (int32_t i = 0; i < n; i++) x[i] = i % 7 == 3 ? -INFINITY : i % 5 == 0 ? 0.25f * size : number(size);
  const double step = 131072.0;
  float best = 0;
  const bool finite = tested.scan(x.data(), n, maxima.data(), &best);
  digested(&finite, 1), digested(&best, 1), digested(maxima.data(), (n + kMaximaBlock - 1) / kMaximaBlock);
  const double sum = tested.sum(x.data(), n, best, step, sums.data());
  digested(&sum, 1), digested(sums.data(), (n + kSumsBlock - 1) / kSumsBlock);
  tested.weigh(x.data(), n, best, step, weights.data());
  digested(weights.data(), n);
  const double products = tested.sum_products(x.data(), n, best, step);
  digested(&products, 1);
  for (const float reach : {0.0f, size, INFINITY}) {
    int32_t count = tested.gather(x.data(), nullptr, n, best, reach, maxima.data(), out.data(), ids.data());
    digested(&count, 1), digested(out.data(), count), digested(ids.data(), count);
    count = tested.gather(out.data(), ids.data(), count, best, reach / 2, nullptr, out.data(), ids.data());
    digested(&count, 1), digested(out.data(), count), digested(ids.data(), count);
  }
  tested.divide(x.data(), n, 1e-37f, out.data());
  digested(out.data(), n);
  for (const float bad : {NAN, INFINITY}) {
    x[n / 2] = bad;
    const bool found = tested.scan(x.data(), n, maxima.data(), &best);
    digested(&found, 1);
  }
  printf("%d %g %016llx\n", n, static_cast<double>(size), static_cast<unsigned long long>(digest));
}

int main() {
  for (const int32_t n : {1, 3, 4, 7, 8, 9, 15, 31, 127, 128, 129, 1000, 1023, 1024, 1025, 5003})
    for (const float size : {1e-3f, 1.0f, 12.0f, 40.0f, 3e38f}) check(n, size);
}
