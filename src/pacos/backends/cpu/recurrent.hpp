/* recurrent.hpp: recurrences of one sequence, token by token; see ir/ops/recurrent.py for the definitions.

   Rows of a state are independent of each other, so threads divide rows; a row's numbers lie along the lanes. A task's
   rows stay in the nearest cache while all tokens of the step pass. */
#pragma once
#include "backends/cpu/lanes.hpp"
#include "backends/cpu/rows.hpp"

namespace pacos {
namespace PACOS_ISA {

/* Sixteen numbers, or the first n of them. */
struct Whole {};
struct Part { int64_t n; };
PACOS_INLINE f32x16 get(const float* p, Whole) { return load(p); }
PACOS_INLINE f32x16 get(const float* p, Part part) { return load_part(p, part.n); }
PACOS_INLINE void put(float* p, f32x16 x, Whole) { store(p, x); }
PACOS_INLINE void put(float* p, f32x16 x, Part part) { store_part(p, x, part.n); }

template <class F>
PACOS_INLINE void along(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, Whole{});
  if (i < n) f(i, Part{n - i});
}

PACOS_INLINE float exp_of(float x) {
  float lanes[kLanes];
  store(lanes, exp(splat(x)));
  return lanes[0];
}

/* The task's rows of the state, as the step before left them. */
PACOS_INLINE float* carried(const RecurrentArgs& a) {
  const int64_t offset = (int64_t{a.head} * a.rows + a.begin) * a.width;
  const auto bytes = static_cast<size_t>((a.end - a.begin) * int64_t{a.width}) * 4;
  if (a.from == nullptr) std::memset(a.to + offset, 0, bytes);
  else if (a.from != a.to) std::memcpy(a.to + offset, a.from + offset, bytes);
  return a.to + offset;
}

/* Operands: x [T, C], w [C, L], bias [C]; state [L - 1, C]; rows are channels, width is L. */
static void short_conv_rows(const RecurrentArgs& a) {
  const int64_t L = a.width, C = a.rows;
  for (int64_t c = a.begin; c < a.end; c += kLanes) {
    const int64_t n = a.end - c < kLanes ? a.end - c : int64_t{kLanes};
    f32x16 taps[kTapsMax], window[kTapsMax];
    for (int64_t j = 0; j < L; j++) {
      float lanes[kLanes] = {};
      for (int64_t i = 0; i < n; i++) lanes[i] = a.in[1][(c + i) * L + j];
      taps[j] = load(lanes);
      window[j] = a.from != nullptr && j + 1 < L ? load_part(a.from + j * C + c, n) : splat(0.0f);
    }
    const f32x16 bias = a.in[2] != nullptr ? load_part(a.in[2] + c, n) : splat(0.0f);
    for (int64_t t = 0; t < a.tokens; t++) {
      window[L - 1] = load_part(a.in[0] + t * a.stride[0] + c, n);
      f32x16 sum = bias;
      for (int64_t j = 0; j < L; j++) sum = fma(taps[j], window[j], sum);
      store_part(a.y + t * a.y_stride + c, sum, n);
      for (int64_t j = 0; j + 1 < L; j++) window[j] = window[j + 1];
    }
    for (int64_t j = 0; j + 1 < L; j++) store_part(a.to + j * C + c, window[j], n);
  }
}

/* Operand: x [T, D]; state [D]. */
static void token_before_rows(const RecurrentArgs& a) {
  const auto bytes = static_cast<size_t>(a.end - a.begin) * 4;
  const float* x = a.in[0] + a.begin;
  if (a.from == nullptr) std::memset(a.y + a.begin, 0, bytes);
  else std::memcpy(a.y + a.begin, a.from + a.begin, bytes);
  for (int64_t t = 1; t < a.tokens; t++) std::memcpy(a.y + t * a.y_stride + a.begin, x + (t - 1) * a.stride[0], bytes);
  std::memcpy(a.to + a.begin, x + (a.tokens - 1) * a.stride[0], bytes);
}

/* Operands: x [T, C], dt [T, C], b [T, N], c [T, N], a [C, N]. */
static void selective_scan_rows(const RecurrentArgs& a) {
  const int64_t N = a.width;
  float* state = carried(a);
  for (int64_t t = 0; t < a.tokens; t++) {
    const float *x = a.in[0] + t * a.stride[0], *dt = a.in[1] + t * a.stride[1];
    const float *b = a.in[2] + t * a.stride[2], *c = a.in[3] + t * a.stride[3];
    for (int64_t row = a.begin; row < a.end; row++) {
      float* h = state + (row - a.begin) * N;
      const float* decay = a.in[4] + row * N;
      const f32x16 step = splat(dt[row]), in = splat(dt[row] * x[row]);
      f32x16 out = splat(0.0f);
      along(N, [&](int64_t i, auto part) PACOS_INLINED {
        const f32x16 next = fma(get(h + i, part), exp(step * get(decay + i, part)), in * get(b + i, part));
        put(h + i, next, part);
        out = fma(next, get(c + i, part), out);
      });
      a.y[t * a.y_stride + row] = sum(out);
    }
  }
}

/* Operands: x [T, H, D], dt [T, H], b [T, G, N], c [T, G, N], a [H]. */
static void grouped_scan_rows(const RecurrentArgs& a) {
  const int64_t N = a.width, first = int64_t{a.head} * a.rows;
  float* state = carried(a);
  for (int64_t t = 0; t < a.tokens; t++) {
    const float *x = a.in[0] + t * a.stride[0] + first, dt = a.in[1][t * a.stride[1] + a.head];
    const float *b = a.in[2] + t * a.stride[2] + a.key_head * N, *c = a.in[3] + t * a.stride[3] + a.key_head * N;
    const f32x16 decay = splat(exp_of(dt * a.in[4][a.head]));
    for (int64_t row = a.begin; row < a.end; row++) {
      float* h = state + (row - a.begin) * N;
      const f32x16 in = splat(dt * x[row]);
      f32x16 out = splat(0.0f);
      along(N, [&](int64_t i, auto part) PACOS_INLINED {
        const f32x16 next = fma(get(h + i, part), decay, in * get(b + i, part));
        put(h + i, next, part);
        out = fma(next, get(c + i, part), out);
      });
      a.y[t * a.y_stride + first + row] = sum(out);
    }
  }
}

PACOS_INLINE void exp_row(const float* x, int64_t n, float* y) {
  along(n, [&](int64_t i, auto part) PACOS_INLINED { put(y + i, exp(get(x + i, part)), part); });
}

/* Operands: q and k [T, K, N], v [T, H, D], g [T, H] or [T, H, N], beta [T, H]. */
static void delta_rule_rows(const RecurrentArgs& a) {
  const int64_t N = a.width, first = int64_t{a.head} * a.rows;
  float* state = carried(a);
  float decay[kRowWidthMax];
  for (int64_t t = 0; t < a.tokens; t++) {
    const float *q = a.in[0] + t * a.stride[0] + a.key_head * N, *k = a.in[1] + t * a.stride[1] + a.key_head * N;
    const float *v = a.in[2] + t * a.stride[2] + first, *g = a.in[3] + t * a.stride[3];
    const float beta = a.in[4][t * a.stride[4] + a.head];
    if (a.wide) {
      exp_row(g + a.head * N, N, decay);
    } else {
      const float one = exp_of(g[a.head]);
      for (int64_t i = 0; i < N; i++) decay[i] = one;
    }
    for (int64_t row = a.begin; row < a.end; row++) {
      float* h = state + (row - a.begin) * N;
      f32x16 seen = splat(0.0f), out = splat(0.0f);
      along(N, [&](int64_t i, auto part) PACOS_INLINED {
        const f32x16 kept = get(h + i, part) * get(decay + i, part);
        put(h + i, kept, part);
        seen = fma(kept, get(k + i, part), seen);
      });
      const f32x16 missing = splat((v[row] - sum(seen)) * beta);
      along(N, [&](int64_t i, auto part) PACOS_INLINED {
        const f32x16 next = fma(missing, get(k + i, part), get(h + i, part));
        put(h + i, next, part);
        out = fma(next, get(q + i, part), out);
      });
      a.y[t * a.y_stride + first + row] = sum(out);
    }
  }
}

/* Operands: r, k, v, g [T, H, N], u [H, N]. */
static void wkv6_rows(const RecurrentArgs& a) {
  const int64_t N = a.width, first = int64_t{a.head} * N;
  float* state = carried(a);
  const float* u = a.in[4] + first;
  float decay[kRowWidthMax];
  for (int64_t t = 0; t < a.tokens; t++) {
    const float *r = a.in[0] + t * a.stride[0] + first, *k = a.in[1] + t * a.stride[1] + first;
    const float* v = a.in[2] + t * a.stride[2] + first;
    exp_row(a.in[3] + t * a.stride[3] + first, N, decay);
    for (int64_t row = a.begin; row < a.end; row++) {
      float* h = state + (row - a.begin) * N;
      const f32x16 value = splat(v[row]);
      f32x16 out = splat(0.0f);
      along(N, [&](int64_t i, auto part) PACOS_INLINED {
        const f32x16 before = get(h + i, part), in = value * get(k + i, part);
        out = fma(fma(in, get(u + i, part), before), get(r + i, part), out);
        put(h + i, fma(before, get(decay + i, part), in), part);
      });
      a.y[t * a.y_stride + first + row] = sum(out);
    }
  }
}

/* Operands: r, g, k, v, a, b [T, H, N]. */
static void wkv7_rows(const RecurrentArgs& a) {
  const int64_t N = a.width, first = int64_t{a.head} * N;
  float* state = carried(a);
  float decay[kRowWidthMax];
  const auto at = [&](int which, int64_t t) PACOS_INLINED { return a.in[which] + t * a.stride[which] + first; };
  for (int64_t t = 0; t < a.tokens; t++) {
    const float *r = at(0, t), *k = at(2, t), *v = at(3, t), *removal = at(4, t), *added = at(5, t);
    exp_row(at(1, t), N, decay);
    for (int64_t row = a.begin; row < a.end; row++) {
      float* h = state + (row - a.begin) * N;
      f32x16 seen = splat(0.0f), out = splat(0.0f);
      along(N, [&](int64_t i, auto part) PACOS_INLINED { seen = fma(get(h + i, part), get(removal + i, part), seen); });
      const f32x16 found = splat(sum(seen)), value = splat(v[row]);
      along(N, [&](int64_t i, auto part) PACOS_INLINED {
        const f32x16 in = fma(found, get(added + i, part), value * get(k + i, part));
        const f32x16 next = fma(get(h + i, part), get(decay + i, part), in);
        put(h + i, next, part);
        out = fma(next, get(r + i, part), out);
      });
      a.y[t * a.y_stride + first + row] = sum(out);
    }
  }
}

}  // namespace PACOS_ISA
}  // namespace pacos
