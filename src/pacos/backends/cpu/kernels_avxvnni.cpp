/* The kernels for AVX2 with VNNI. */
#if defined(__x86_64__)
#define PACOS_ISA avxvnni
#define PACOS_VNNI(name) _mm256_##name##_avx_epi32
#include "isa_avxvnni.hpp"

#include "linear.hpp"

namespace pacos {
static void dequantize_row(int32_t type, const void* src, float* dst, int64_t n) {
  kernels_avx2.dequantize_row(type, src, dst, n);
}

const Kernels kernels_avxvnni = {
    "avxvnni",
    avxvnni::format_facts,
    avxvnni::quantize_row,
    avxvnni::linear,
    avxvnni::linear_scratch,
    dequantize_row,
};
}  // namespace pacos
#endif
