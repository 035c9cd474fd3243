/* Compare one table of row kernels with the portable one, bit for bit: how tests check instruction sets that only an
   emulator can execute. Prints each kernel that differs; the exit status is how many do. */
#include <stdio.h>
#include <string.h>

#include <vector>

#include "backends/cpu/row_kernels.hpp"

using namespace pacos;
using Floats = std::vector<float>;

static const RowKernels& tested = PACOS_TESTED_ROWS;
static const RowKernels& truth = rows_portable;
static int differing = 0;

static uint64_t state = 88172645463325252ull;
static float number(float size) {   // xorshift, about as often large as small
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return (static_cast<float>(state >> 40) / 16777216.0f - 0.5f) * 2 * size;
}

static Floats numbers(int64_t n, float size) {
  Floats made(static_cast<size_t>(n));
  for (float& x : made) x = number(size);
  return made;
}

static void compare(const char* name, int64_t n, const Floats& a, const Floats& b) {
  if (memcmp(a.data(), b.data(), a.size() * 4) == 0) return;
  printf("%s of %d differs\n", name, static_cast<int>(n));
  differing++;
}

template <class Call>
static void both(const char* name, int64_t n, int64_t size, Call call) {
  Floats a(static_cast<size_t>(size)), b(static_cast<size_t>(size));
  call(tested, a.data());
  call(truth, b.data());
  compare(name, n, a, b);
}

static void check_rows(int64_t n, float size) {
  const Floats x = numbers(n, size), w = numbers(n, 2), c = numbers(n, 1);
  auto rows = [&](const char* name, auto call) { both(name, n, n, call); };
  rows("rms_norm", [&](const RowKernels& k, float* y) { k.rms_norm(x.data(), w.data(), y, n, 1e-5f); });
  rows("layer_norm", [&](const RowKernels& k, float* y) { k.layer_norm(x.data(), w.data(), c.data(), y, n, 1e-5f); });
  rows("add", [&](const RowKernels& k, float* y) { k.add(x.data(), w.data(), y, n); });
  rows("mul", [&](const RowKernels& k, float* y) { k.mul(x.data(), w.data(), y, n); });
  rows("scale", [&](const RowKernels& k, float* y) { k.scale(x.data(), 0.3f, y, n); });
  rows("silu", [&](const RowKernels& k, float* y) { k.silu(x.data(), y, n); });
  rows("gelu", [&](const RowKernels& k, float* y) { k.gelu(x.data(), y, n); });
  rows("gelu_tanh", [&](const RowKernels& k, float* y) { k.gelu_tanh(x.data(), y, n); });
  rows("silu_mul", [&](const RowKernels& k, float* y) { k.silu_mul(x.data(), w.data(), y, n); });
  rows("gelu_mul", [&](const RowKernels& k, float* y) { k.gelu_mul(x.data(), w.data(), y, n); });
  rows("gelu_tanh_mul", [&](const RowKernels& k, float* y) { k.gelu_tanh_mul(x.data(), w.data(), y, n); });
  rows("softcap", [&](const RowKernels& k, float* y) { k.softcap(x.data(), 5, y, n); });
  const int64_t pairs = n / 2;
  rows("rotate_pairs", [&](const RowKernels& k, float* y) { k.rotate_pairs(x.data(), w.data(), y, n, pairs); });
  rows("rotate_halves", [&](const RowKernels& k, float* y) { k.rotate_halves(x.data(), w.data(), y, n, pairs); });
}

struct Case {
  int32_t heads, key_heads, E, F, page_tokens, type, window;
  float softcap;
  bool bidirectional, slopes;
};

/* One sequence of T tokens in one layer: append, then all queries of each key head in blocks. */
static void attend_all(const RowKernels& kernels, const Case& c, int32_t T, const Floats& q, const Floats& k, const Floats& v,
                       float* y) {
  const int32_t pages = T / c.page_tokens + 1;
  std::vector<int32_t> table, positions;
  for (int32_t i = 0; i < pages; i++) table.push_back(pages - 1 - i);
  for (int32_t i = 0; i < T; i++) positions.push_back(i);
  const int64_t key_bytes = kernels.stored_bytes(c.type, int64_t{c.page_tokens} * c.key_heads * c.E);
  const int64_t value_bytes = kernels.stored_bytes(c.type, int64_t{c.page_tokens} * c.key_heads * c.F);
  std::vector<uint8_t> keys(static_cast<size_t>(key_bytes * pages + 64)), values(static_cast<size_t>(value_bytes * pages + 64));
  std::vector<double> slopes;
  for (int32_t i = 0; i < c.heads; i++) slopes.push_back(1.0 / (2 + i));
  const AttentionArgs args = {q.data(), k.data(), v.data(), y, c.heads * c.E, c.key_heads * c.E, c.key_heads * c.F,
                              c.heads * c.F, c.heads, c.key_heads, c.E, c.F, keys.data(), values.data(), key_bytes,
                              value_bytes, c.page_tokens, c.type, c.type, c.window, 0.2f, c.softcap,
                              c.slopes ? slopes.data() : nullptr, c.bidirectional};
  const int64_t size = softmax_state_floats(c.F), group = c.heads / c.key_heads;
  Floats sum(static_cast<size_t>(kBlockQueries * size)), next(sum.size());
  Floats scratch(static_cast<size_t>(attention_scratch(c.page_tokens, c.E, c.F) / 4));
  for (int32_t head = 0; head < c.key_heads; head++) {
    kernels.append(args, {positions.data(), table.data(), 0, head, 0, 0, T - 1}, T);
    for (int64_t begin = 0; begin < T * group; begin += kBlockQueries) {
      const int64_t end = begin + kBlockQueries < T * group ? begin + kBlockQueries : T * group;
      const QueryBlock block = {positions.data(), table.data(), 0, head, static_cast<int32_t>(begin),
                                static_cast<int32_t>(end), T - 1};
      int64_t first, last;
      kernels.chunks(args, block, &first, &last);
      for (int64_t chunk = first; chunk < last; chunk++) {
        kernels.attend(args, block, chunk, chunk == first ? sum.data() : next.data(), scratch.data());
        if (chunk > first) kernels.merge(sum.data(), next.data(), end - begin, c.F);
      }
      kernels.finish(args, block, sum.data());
    }
  }
}

static void check_attention(const Case& c, int32_t most = 530) {   // 530 tokens: chunks that are merged
  for (const int32_t T : {1, 2, 3, 70, 530}) {
    if (T > most) break;
    const Floats q = numbers(T * c.heads * c.E, 2), k = numbers(T * c.key_heads * c.E, 2), v = numbers(T * c.key_heads * c.F, 2);
    both("attention", T, int64_t{T} * c.heads * c.F, [&](const RowKernels& table, float* y) { attend_all(table, c, T, q, k, v, y); });
  }
}

int main() {
  for (const int64_t n : {2, 7, 15, 16, 17, 100, 1024})
    for (const float size : {0.01f, 3.0f, 110.0f}) check_rows(n, size);
  check_attention({4, 2, 64, 64, 64, STORE_F16, 0, 0, false, false});
  check_attention({3, 3, 20, 40, 16, STORE_F16, 100, 0, false, false});
  check_attention({5, 1, 16, 7, 256, STORE_F32, 0, 9, false, false});
  check_attention({4, 1, 20, 24, 32, STORE_BF16, 0, 0, false, false});
  check_attention({4, 4, 32, 32, 64, STORE_F32, 0, 0, true, false});
  check_attention({6, 3, 20, 7, 32, STORE_F16, 0, 0, true, true});
  check_attention({3, 1, 24, 24, 16, STORE_F32, 70, 9, false, true});
  for (const int32_t type : {STORE_Q8_0, STORE_Q5_1, STORE_Q5_0, STORE_Q4_1, STORE_Q4_0, STORE_IQ4_NL}) {
    check_attention({4, 2, 64, 32, 64, type, 0, 0, false, false}, 70);
    check_attention({3, 1, 32, 96, 16, type, 90, 0, false, false});
  }
  return differing;
}
