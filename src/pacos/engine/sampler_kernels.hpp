/* sampler_kernels.hpp: the functions of sampler_rows.hpp over vectors of LANES floats, in the compilers' own vector
   language. Included once by each file of an instruction set, which defines PACOS_LANES; nothing here calls inline
   functions of std, whose copies the linker would share between instruction sets. */
#include "sampler_rows.hpp"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using pacos::sampling::kMaximaBlock;
using pacos::sampling::kSumsBlock;

constexpr int32_t LANES = PACOS_LANES;
constexpr float kInfinity = __builtin_inff();
constexpr float kFloatMax = 3.40282346638528859812e38f;

typedef float F __attribute__((vector_size(4 * LANES)));
typedef int32_t I __attribute__((vector_size(4 * LANES)));
typedef float Half __attribute__((vector_size(2 * LANES)));
typedef double D __attribute__((vector_size(4 * LANES)));  // as many as Half

inline F splat(float value) { return F{} + value; }

inline F load(const float* from) {
  F value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

// The last n < LANES logits, filled up with ones that weigh nothing.
inline F load_part(const float* from, int32_t n) {
  F value = splat(-kInfinity);
  for (int32_t l = 0; l < n; ++l) value[l] = from[l];
  return value;
}

inline F larger(F a, F b) {
#if defined(__AVX__)
  return _mm256_max_ps(a, b);
#elif defined(__x86_64__)
  return _mm_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

inline uint32_t bits_of(I mask) {
#if defined(__AVX__)
  return static_cast<uint32_t>(_mm256_movemask_ps((__m256)mask));
#elif defined(__x86_64__)
  return static_cast<uint32_t>(_mm_movemask_ps((__m128)mask));
#else
  uint32_t bits = 0;
  for (int32_t l = 0; l < LANES; ++l) bits |= static_cast<uint32_t>(mask[l] & 1) << l;
  return bits;
#endif
}

inline void split(F x, D* low, D* high) {
  Half half[2];
  __builtin_memcpy(half, &x, sizeof x);
  *low = __builtin_convertvector(half[0], D);
  *high = __builtin_convertvector(half[1], D);
}

// e to the minus x for 0 <= x, as for 80 above: Taylor series after reduction by powers of two.
inline F decay(F far) {
  const F x = larger(-far, splat(-80.0f));
  const F shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const F k = shifted - 12582912.0f;
  const F r = (x - k * 0.693359375f) - k * -2.12194440e-4f;
  F p = r * (1.0f / 5040.0f) + (1.0f / 720.0f);
  p = p * r + (1.0f / 120.0f);
  p = p * r + (1.0f / 24.0f);
  p = p * r + (1.0f / 6.0f);
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  I bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);  // its low bits are k
  bits = (bits + 127) << 23;
  F power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return p * power;
}

inline void weights_of(F far, double step, D* low, D* high) {
  split(decay(far), low, high);
  *low = (*low + step) - step;
  *high = (*high + step) - step;
}

inline double total(D low, D high) {
  const D both = low + high;
  double sum = 0.0;
  for (int32_t l = 0; l < LANES / 2; ++l) sum += both[l];
  return sum;
}

bool scan(const float* x, int32_t n, float* maxima, float* best) {
  constexpr int32_t vectors = kMaximaBlock / LANES;
  I good = I{} - 1;
  bool tail_good = true;
  float top = -kInfinity;
  for (int32_t start = 0; start < n; start += kMaximaBlock) {
    float highest = -kInfinity;
    if (start + kMaximaBlock <= n) {
      F most[4] = {splat(-kInfinity), splat(-kInfinity), splat(-kInfinity), splat(-kInfinity)};
      for (int32_t v = 0; v < vectors; v += 4) {
        for (int32_t u = 0; u < 4; ++u) {
          const F value = load(x + start + (v + u) * LANES);
          good &= (I)(value <= kFloatMax);
          most[u] = larger(value, most[u]);
        }
      }
      const F all = larger(larger(most[0], most[1]), larger(most[2], most[3]));
      for (int32_t l = 0; l < LANES; ++l) highest = all[l] > highest ? all[l] : highest;
    } else {
      for (int32_t i = start; i < n; ++i) {
        tail_good = tail_good && x[i] <= kFloatMax;
        highest = x[i] > highest ? x[i] : highest;
      }
    }
    maxima[start / kMaximaBlock] = highest;
    top = highest > top ? highest : top;
  }
  *best = top;
  return tail_good && bits_of(good) == (1u << LANES) - 1;
}

double sum(const float* x, int32_t n, float best, double step, double* sums) {
  double all = 0.0;
  for (int32_t start = 0; start < n; start += kSumsBlock) {
    const int32_t end = start + kSumsBlock < n ? start + kSumsBlock : n;
    D low{}, high{}, w_low, w_high;
    int32_t i = start;
    for (; i + LANES <= end; i += LANES) {
      weights_of(best - load(x + i), step, &w_low, &w_high);
      low += w_low;
      high += w_high;
    }
    if (i < end) {
      weights_of(best - load_part(x + i, end - i), step, &w_low, &w_high);
      low += w_low;
      high += w_high;
    }
    sums[start / kSumsBlock] = total(low, high);
    all += sums[start / kSumsBlock];
  }
  return all;
}

void weigh(const float* x, int32_t n, float best, double step, double* weights) {
  D pair[2];
  int32_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    weights_of(best - load(x + i), step, pair, pair + 1);
    __builtin_memcpy(weights + i, pair, sizeof pair);
  }
  if (i < n) {
    weights_of(best - load_part(x + i, n - i), step, pair, pair + 1);
    __builtin_memcpy(weights + i, pair, sizeof(double) * static_cast<unsigned long>(n - i));
  }
}

double sum_products(const float* x, int32_t n, float best, double step) {
  D low{}, high{}, w_low, w_high, far_low, far_high;
  for (int32_t i = 0; i < n; i += LANES) {
    const F far = best - (i + LANES <= n ? load(x + i) : load_part(x + i, n - i));
    weights_of(far, step, &w_low, &w_high);
    split(far < 80.0f ? far : splat(80.0f), &far_low, &far_high);
    low += (w_low * far_low + step) - step;
    high += (w_high * far_high + step) - step;
  }
  return total(low, high);
}

void divide(const float* x, int32_t n, float by, float* out) {
  const F most = splat(kFloatMax);
  for (int32_t i = 0; i < n; i += LANES) {
    const F value = i + LANES <= n ? load(x + i) : load_part(x + i, n - i);
    F result = value / by;  // dropped stays dropped, all else stays finite
    result = result > most ? most : result;
    result = (result < -most) & (value >= -most) ? -most : result;
    __builtin_memcpy(out + i, &result, sizeof(float) * static_cast<unsigned long>(i + LANES <= n ? LANES : n - i));
  }
}

int32_t gather(const float* x, const int32_t* ids, int32_t n, float best, float reach, const float* maxima, float* x_out,
               int32_t* ids_out) {
  int32_t count = 0;
  for (int32_t start = 0; start < n; start += kMaximaBlock) {
    if (maxima != nullptr && !(best - maxima[start / kMaximaBlock] <= reach)) continue;
    const int32_t end = start + kMaximaBlock < n ? start + kMaximaBlock : n;
    for (int32_t i = start; i < end; i += LANES) {
      const F value = i + LANES <= end ? load(x + i) : load_part(x + i, end - i);
      uint32_t bits = bits_of((I)(best - value <= reach) & (I)(value > -kInfinity));
      for (; bits != 0; bits &= bits - 1) {
        const int32_t l = __builtin_ctz(bits);
        x_out[count] = value[l];
        ids_out[count++] = ids == nullptr ? i + l : ids[i + l];
      }
    }
  }
  return count;
}

constexpr pacos::sampling::RowKernels kernels = {scan, sum, weigh, sum_products, divide, gather};

}  // namespace
