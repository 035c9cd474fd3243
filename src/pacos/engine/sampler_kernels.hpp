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
#if defined(__AVX__)
  *low = (D)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)x));
  *high = (D)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)x, 1));
#else
  Half half[2];
  __builtin_memcpy(half, &x, sizeof x);
  *low = __builtin_convertvector(half[0], D);
  *high = __builtin_convertvector(half[1], D);
#endif
}

// e to the minus x for 0 <= x, as for 80 above: Taylor series after reduction by powers of two, in pairs of terms.
inline F decay(F far) {
  const F x = larger(-far, splat(-80.0f));
  const F shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const F k = shifted - 12582912.0f;
  const F r = (x - k * 0.693359375f) - k * -2.12194440e-4f;
  const F square = r * r;
  const F p = (r + 1.0f) + square * (r * (1.0f / 6.0f) + 0.5f);
  const F q = (r * (1.0f / 120.0f) + (1.0f / 24.0f)) + square * (r * (1.0f / 5040.0f) + (1.0f / 720.0f));
  I bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);  // its low bits are k
  bits = (bits + 127) << 23;
  F power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return (p + (square * square) * q) * power;
}

struct Weights {
  D low, high;
};

inline Weights weights_of(F far, double step) {
  Weights w;
  split(decay(far), &w.low, &w.high);
  return {(w.low + step) - step, (w.high + step) - step};
}

inline double total(D both) {
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
    D low[2] = {}, high[2] = {};
    int32_t i = start;
    for (; i + 2 * LANES <= end; i += 2 * LANES) {  // two chains, or one waits for itself
      const Weights a = weights_of(best - load(x + i), step), b = weights_of(best - load(x + i + LANES), step);
      low[0] += a.low;
      low[1] += b.low;
      high[0] += a.high;
      high[1] += b.high;
    }
    for (; i < end; i += LANES) {
      const Weights a = weights_of(best - (i + LANES <= end ? load(x + i) : load_part(x + i, end - i)), step);
      low[0] += a.low;
      high[0] += a.high;
    }
    sums[start / kSumsBlock] = total((low[0] + low[1]) + (high[0] + high[1]));
    all += sums[start / kSumsBlock];
  }
  return all;
}

void weigh(const float* x, int32_t n, float best, double step, double* weights) {
  for (int32_t i = 0; i < n; i += LANES) {
    const bool whole = i + LANES <= n;
    const Weights w = weights_of(best - (whole ? load(x + i) : load_part(x + i, n - i)), step);
    __builtin_memcpy(weights + i, &w, sizeof(double) * static_cast<unsigned long>(whole ? LANES : n - i));
  }
}

double sum_products(const float* x, int32_t n, float best, double step) {
  D low{}, high{}, far_low, far_high;
  for (int32_t i = 0; i < n; i += LANES) {
    const F far = best - (i + LANES <= n ? load(x + i) : load_part(x + i, n - i));
    const Weights w = weights_of(far, step);
    split(far < 80.0f ? far : splat(80.0f), &far_low, &far_high);
    low += (w.low * far_low + step) - step;
    high += (w.high * far_high + step) - step;
  }
  return total(low + high);
}

void divide(const float* x, int32_t n, float by, float* out) {
  const F most = splat(kFloatMax);
  for (int32_t i = 0; i < n; i += LANES) {
    const F value = i + LANES <= n ? load(x + i) : load_part(x + i, n - i);
    F result = value / by;  // dropped stays dropped, all else stays finite
    result = result > most ? most : result;
    result = ((result < -most) & (value >= -most)) ? -most : result;
    __builtin_memcpy(out + i, &result, sizeof(float) * static_cast<unsigned long>(i + LANES <= n ? LANES : n - i));
  }
}

// Write the lanes of value and id whose bit is set, side by side; lanes after them may be written too.
#if defined(__AVX2__)
struct Packings {
  uint64_t lanes[256];  // for each pattern of bits, the numbers of the set ones, a byte each
};

constexpr Packings make_packings() {
  Packings made = {};
  for (int32_t bits = 0; bits < 256; ++bits) {
    int32_t place = 0;
    for (int32_t l = 0; l < 8; ++l)
      if ((bits >> l & 1) != 0) made.lanes[bits] |= static_cast<uint64_t>(l) << 8 * place++;
  }
  return made;
}

constexpr Packings packings = make_packings();

inline void pack(F value, I id, uint32_t bits, float* x_out, int32_t* ids_out) {
  const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(packings.lanes[bits])));
  _mm256_storeu_ps(x_out, _mm256_permutevar8x32_ps((__m256)value, order));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(ids_out), _mm256_permutevar8x32_epi32((__m256i)id, order));
}
#else
inline void pack(F value, I id, uint32_t bits, float* x_out, int32_t* ids_out) {
  for (int32_t count = 0; bits != 0; bits &= bits - 1, ++count) {
    const int32_t l = __builtin_ctz(bits);
    x_out[count] = value[l];
    ids_out[count] = id[l];
  }
}
#endif

int32_t gather(const float* x, const int32_t* ids, int32_t n, float best, float reach, const float* maxima, float* x_out,
               int32_t* ids_out) {
  I places = {};
  for (int32_t l = 0; l < LANES; ++l) places[l] = l;
  int32_t count = 0;
  for (int32_t start = 0; start < n; start += kMaximaBlock) {
    if (maxima != nullptr && !(best - maxima[start / kMaximaBlock] <= reach)) continue;
    const int32_t end = start + kMaximaBlock < n ? start + kMaximaBlock : n;
    for (int32_t i = start; i < end; i += LANES) {
      const bool whole = i + LANES <= end;
      const F value = whole ? load(x + i) : load_part(x + i, end - i);
      I id = places + i;
      if (ids != nullptr) __builtin_memcpy(&id, ids + i, sizeof(int32_t) * static_cast<unsigned long>(whole ? LANES : end - i));
      const uint32_t bits = bits_of((I)(best - value <= reach) & (I)(value > -kInfinity));
      if (bits == 0) continue;
      pack(value, id, bits, x_out + count, ids_out + count);
      count += __builtin_popcount(bits);
    }
  }
  return count;
}

constexpr pacos::sampling::RowKernels kernels = {scan, sum, weigh, sum_products, divide, gather};

}  // namespace
