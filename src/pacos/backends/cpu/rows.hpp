/* rows.hpp: norms, activations, element-wise arithmetic and rotation of one row. See ir/ops for the definitions. */
#pragma once
#include "backends/cpu/lanes.hpp"

namespace pacos {
namespace PACOS_ISA {

/* y[i] = f(x[i] ...) for i < n, sixteen at a time; the last ones are padded with zeros, so a number's place does not
   change its result. */
template <class F>
PACOS_INLINE void each(const float* x, float* y, int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, f(load(x + i)));
  if (i < n) store_part(y + i, f(load_part(x + i, n - i)), n - i);
}

template <class F>
PACOS_INLINE void each_pair(const float* a, const float* b, float* y, int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, f(load(a + i), load(b + i)));
  if (i < n) store_part(y + i, f(load_part(a + i, n - i), load_part(b + i, n - i)), n - i);
}

static void add_row(const float* a, const float* b, float* y, int64_t n) {
  each_pair(a, b, y, n, [](f32x16 u, f32x16 v) { return u + v; });
}
static void mul_row(const float* a, const float* b, float* y, int64_t n) {
  each_pair(a, b, y, n, [](f32x16 u, f32x16 v) { return u * v; });
}
static void scale_row(const float* x, float factor, float* y, int64_t n) {
  each(x, y, n, [f = splat(factor)](f32x16 v) { return v * f; });
}

PACOS_INLINE f32x16 silu(f32x16 x) { return x / (splat(1.0f) + exp(splat(0.0f) - x)); }

/* 0.5 (1 + tanh u) = 1 / (1 + e^(-2 u)), without the cancellation. */
PACOS_INLINE f32x16 gelu_tanh(f32x16 x) {
  const f32x16 cubic = fma(splat(0.044715f) * x * x, x, x);
  return x / (splat(1.0f) + exp(splat(-2.0f * 0.7978845608028654f) * cubic));
}

/* x times the normal distribution's function. Its lower tail at -a is e^(-a^2 / 2) t q(t) with t = 1 / (1 + 0.21 a), q a
   polynomial fitted to a relative error of 2e-08 for a from 0 to 14.6. */
PACOS_INLINE f32x16 gelu(f32x16 x) {
  const f32x16 size = max(x, splat(0.0f) - x);
  const f32x16 t = splat(1.0f) / fma(size, splat(0.20999999344348907f), splat(1.0f));
  f32x16 q = splat(-0.07122404873371124f);
  q = fma(q, t, splat(0.2814555764198303f));
  q = fma(q, t, splat(-0.3257584869861603f));
  q = fma(q, t, splat(0.3441254794597626f));
  q = fma(q, t, splat(-0.09015899151563644f));
  q = fma(q, t, splat(0.12320032715797424f));
  q = fma(q, t, splat(0.06964273005723953f));
  q = fma(q, t, splat(0.08500158786773682f));
  q = fma(q, t, splat(0.08371583372354507f));
  const f32x16 tail = x * (q * t * exp(splat(-0.5f) * x * x));
  return select_less(x, splat(0.0f), tail, x - tail);
}

static void silu_row(const float* x, float* y, int64_t n) { each(x, y, n, [](f32x16 v) { return silu(v); }); }
static void gelu_row(const float* x, float* y, int64_t n) { each(x, y, n, [](f32x16 v) { return gelu(v); }); }
static void gelu_tanh_row(const float* x, float* y, int64_t n) { each(x, y, n, [](f32x16 v) { return gelu_tanh(v); }); }
static void silu_mul_row(const float* gate, const float* up, float* y, int64_t n) {
  each_pair(gate, up, y, n, [](f32x16 g, f32x16 u) { return silu(g) * u; });
}
static void gelu_mul_row(const float* gate, const float* up, float* y, int64_t n) {
  each_pair(gate, up, y, n, [](f32x16 g, f32x16 u) { return gelu(g) * u; });
}
static void gelu_tanh_mul_row(const float* gate, const float* up, float* y, int64_t n) {
  each_pair(gate, up, y, n, [](f32x16 g, f32x16 u) { return gelu_tanh(g) * u; });
}
static void softcap_row(const float* x, float cap, float* y, int64_t n) {
  each(x, y, n, [c = splat(cap)](f32x16 v) { return c * tanh(v / c); });
}

PACOS_INLINE f32x16 sigmoid(f32x16 x) { return splat(1.0f) / (splat(1.0f) + exp(splat(0.0f) - x)); }

/* max(x, 0) + log(1 + e^-|x|). With u = e^-|x|, log(1 + u) = 2 artanh(z) for z = u / (2 + u) up to a third: its series. */
PACOS_INLINE f32x16 softplus(f32x16 x) {
  const f32x16 u = exp(min(x, splat(0.0f) - x));
  const f32x16 z = u / (splat(2.0f) + u), zz = z * z;
  f32x16 p = splat(2.0f / 17);
  for (int n = 15; n > 0; n -= 2) p = fma(p, zz, splat(2.0f / static_cast<float>(n)));
  return fma(p, z, max(splat(0.0f), x));
}

static void sigmoid_row(const float* x, float* y, int64_t n) { each(x, y, n, [](f32x16 v) { return sigmoid(v); }); }
static void exponential_row(const float* x, float* y, int64_t n) { each(x, y, n, [](f32x16 v) { return exp(v); }); }
static void softplus_row(const float* x, float* y, int64_t n) { each(x, y, n, [](f32x16 v) { return softplus(v); }); }

/* Sum of f(x[i]) over a row: sixteen partial sums, then one tree. */
template <class F>
PACOS_INLINE float row_sum(const float* x, int64_t n, F f) {
  f32x16 sums = splat(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sums = f(load(x + i), sums);
  if (i < n) sums = f(load_part(x + i, n - i), sums);
  return sum(sums);
}

static void rms_norm_row(const float* x, const float* w, float* y, int64_t n, float eps) {
  const float squares = row_sum(x, n, [](f32x16 v, f32x16 s) { return fma(v, v, s); });
  const f32x16 r = splat(1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps));
  if (w != nullptr) each_pair(x, w, y, n, [r](f32x16 v, f32x16 u) { return v * r * u; });
  else each(x, y, n, [r](f32x16 v) { return v * r; });
}

static void lerp_row(const float* x, const float* y, const float* share, float* z, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(z + i, fma(load(y + i) - load(x + i), load(share + i), load(x + i)));
  if (i == n) return;
  const f32x16 u = load_part(x + i, n - i);
  store_part(z + i, fma(load_part(y + i, n - i) - u, load_part(share + i, n - i), u), n - i);
}

static void head_bonus_row(const float* r, const float* k, const float* u, const float* v, float* y, int64_t n) {
  f32x16 sums = splat(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sums = fma(load(r + i) * load(k + i), load(u + i), sums);
  if (i < n) sums = fma(load_part(r + i, n - i) * load_part(k + i, n - i), load_part(u + i, n - i), sums);
  scale_row(v, sum(sums), y, n);
}

static void l2_norm_row(const float* x, float* y, int64_t n, float eps) {
  const float squares = row_sum(x, n, [](f32x16 v, f32x16 s) { return fma(v, v, s); });
  const f32x16 r = splat(1.0f / __builtin_sqrtf(squares + eps));
  each(x, y, n, [r](f32x16 v) { return v * r; });
}

static void layer_norm_row(const float* x, const float* w, const float* bias, float* y, int64_t n, float eps) {
  const f32x16 mean = splat(row_sum(x, n, [](f32x16 v, f32x16 s) { return s + v; }) / static_cast<float>(n));
  f32x16 sums = splat(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const f32x16 c = load(x + i) - mean;
    sums = fma(c, c, sums);
  }
  if (i < n) {   // the padding is the mean itself
    float lanes[kLanes];
    store(lanes, mean);
    std::memcpy(lanes, x + i, static_cast<size_t>(n - i) * 4);
    const f32x16 c = load(lanes) - mean;
    sums = fma(c, c, sums);
  }
  const f32x16 r = splat(1.0f / __builtin_sqrtf(sum(sums) / static_cast<float>(n) + eps));
  if (w != nullptr) each_pair(x, w, y, n, [r, mean](f32x16 v, f32x16 u) { return (v - mean) * r * u; });
  else each(x, y, n, [r, mean](f32x16 v) { return (v - mean) * r; });
  if (bias != nullptr) add_row(y, bias, y, n);
}

static void clamped_silu_mul_row(const float* gate, const float* up, float alpha, float limit, float* y, int64_t n) {
  each_pair(gate, up, y, n, [=](f32x16 g, f32x16 u) {
    g = min(splat(limit), g);   // the second operand survives when it is not a number
    u = max(splat(-limit), min(splat(limit), u));
    return g / (splat(1.0f) + exp(splat(-alpha) * g)) * (u + splat(1.0f));
  });
}

static void weigh_row(const float* x, const float* weights, float* y, int64_t n, int64_t slots, int64_t width) {
  each(x, y, n, [w = splat(weights[0])](f32x16 v) { return v * w; });
  for (int64_t u = 1; u < slots; u++)
    each_pair(x + u * width, y, y, n, [w = splat(weights[u])](f32x16 v, f32x16 s) { return fma(v, w, s); });
}

static float dot_row(const float* x, const float* w, int64_t n) {
  f32x16 sums = splat(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sums = fma(load(x + i), load(w + i), sums);
  if (i < n) sums = fma(load_part(x + i, n - i), load_part(w + i, n - i), sums);
  return sum(sums);
}

static void rotate_pairs_head(const float* __restrict x, const float* __restrict angles, float* __restrict y, int64_t E,
                              int64_t pairs) {
  for (int64_t i = 0; i < pairs; i++) {
    const float a = x[2 * i], b = x[2 * i + 1], c = angles[i], s = angles[pairs + i];
    y[2 * i] = a * c - b * s;
    y[2 * i + 1] = a * s + b * c;
  }
  std::memcpy(y + 2 * pairs, x + 2 * pairs, static_cast<size_t>(E - 2 * pairs) * 4);
}

static void rotate_halves_head(const float* __restrict x, const float* __restrict angles, float* __restrict y, int64_t E,
                               int64_t pairs) {
  for (int64_t i = 0; i < pairs; i++) {
    const float a = x[i], b = x[pairs + i], c = angles[i], s = angles[pairs + i];
    y[i] = a * c - b * s;
    y[pairs + i] = a * s + b * c;
  }
  std::memcpy(y + 2 * pairs, x + 2 * pairs, static_cast<size_t>(E - 2 * pairs) * 4);
}

}  // namespace PACOS_ISA
}  // namespace pacos
