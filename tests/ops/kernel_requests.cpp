/* Answer kernel requests from a file: how tests run instruction sets that only an emulator can execute.

   kernel_requests IN OUT, for the table PACOS_TESTED. IN: requests of int32 {type, rows, K, n, has_bias}, then weights, x f32 [n][K], bias f32
   [rows]. OUT: for each the dequantised weights f32 [rows][K] and y f32 [n][rows]. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/cpu/kernels.hpp"

using namespace pacos;

/* Plain C, so that a cross compiler needs no C++ library: building one takes minutes. */
static void* aligned(int64_t bytes) { return aligned_alloc(64, (size_t)round_up(bytes + 64, 64)); }

template <class T>
static T* read(FILE* from, int64_t count) {
  T* values = (T*)aligned(count * (int64_t)sizeof(T));
  if (fread(values, sizeof(T), (size_t)count, from) != (size_t)count) exit(3);
  return values;
}

int main(int, char** argv) {
  const Kernels* const kernels = &PACOS_TESTED;
  FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
  int32_t r[5];
  while (fread(r, 4, 5, in) == 5) {
    const int32_t type = r[0], n = r[3];
    const int64_t rows = r[1], K = r[2];
    const FormatFacts* facts = kernels->format(type);
    if (!facts) return 4;
    const int32_t kind = act_kind_of(facts->act_kind, n);
    const int64_t row_bytes = K / facts->block * facts->block_bytes, stride = act_bytes(kind, K);
    uint8_t* weights = read<uint8_t>(in, rows * row_bytes);
    float *x = read<float>(in, n * K), *bias = read<float>(in, r[4] ? rows : 0);
    uint8_t* acts = (uint8_t*)aligned(stride * n);
    void* scratch = aligned(kernels->linear_scratch(type, K, n));
    float *y = (float*)aligned(n * rows * 4), *plain = (float*)aligned(rows * K * 4);
    kernels->dequantize_row(type, weights, plain, rows * K);
    for (int64_t c = 0; c < n; c++) kernels->quantize_row(kind, x + c * K, K, acts + c * stride);
    const LinearArgs args{weights, type, rows, K, row_bytes, acts, stride, n, y, rows, r[4] ? bias : nullptr};
    kernels->linear(args, 0, rows, scratch);
    fwrite(plain, 4, (size_t)(rows * K), out);
    fwrite(y, 4, (size_t)(n * rows), out);
    void* const held[] = {(void*)weights, (void*)x, (void*)bias, (void*)acts, scratch, (void*)y, (void*)plain};
    for (void* p : held) free(p);
  }
  return fclose(out);
}
