/* Answer kernel requests from a file: how tests run instruction sets that only an emulator can execute.

   kernel_requests ISA IN OUT. IN: requests of int32 {type, rows, K, n, has_bias}, then weights, x f32 [n][K], bias f32
   [rows]. OUT: for each the dequantised weights f32 [rows][K] and y f32 [n][rows]. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "backends/cpu/kernels.hpp"

using namespace pacos;

static const Kernels* table(const char* isa) {
#if defined(PACOS_EMULATED)
  return !strcmp(isa, "avx512") ? &kernels_avx512 : nullptr;
#else
  return find_kernels(isa);
#endif
}

static void* aligned(int64_t bytes) { return aligned_alloc(64, (size_t)round_up(bytes + 64, 64)); }

template <class T>
static std::vector<T> read(FILE* from, size_t count) {
  std::vector<T> values(count);
  if (fread(values.data(), sizeof(T), count, from) != count) exit(3);
  return values;
}

int main(int, char** argv) {
  const Kernels* kernels = table(argv[1]);
  if (!kernels) return 2;
  FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
  int32_t r[5];
  while (fread(r, 4, 5, in) == 5) {
    const int32_t type = r[0], n = r[3];
    const int64_t rows = r[1], K = r[2];
    const FormatFacts* facts = kernels->format(type);
    if (!facts) return 4;
    const int64_t row_bytes = K / facts->block * facts->block_bytes, stride = act_bytes(facts->act_kind, K);
    const auto weights = read<uint8_t>(in, rows * row_bytes);
    const auto x = read<float>(in, n * K), bias = read<float>(in, r[4] ? rows : 0);
    uint8_t* acts = (uint8_t*)aligned(stride * n);
    void* scratch = aligned(kernels->linear_scratch(type, K, n));
    std::vector<float> y(n * rows), plain(rows * K);
    kernels->dequantize_row(type, weights.data(), plain.data(), rows * K);
    for (int64_t c = 0; c < n; c++) kernels->quantize_row(facts->act_kind, x.data() + c * K, K, acts + c * stride);
    const LinearArgs args{weights.data(), type, rows, K, row_bytes, acts, stride, n, y.data(), rows, r[4] ? bias.data() : nullptr};
    kernels->linear(args, 0, rows, scratch);
    fwrite(plain.data(), 4, plain.size(), out);
    fwrite(y.data(), 4, y.size(), out);
    free(acts);
    free(scratch);
  }
  return fclose(out);
}
