/* The kernels for AVX-512 with VNNI. */
#if defined(__x86_64__)
#define PACOS_ISA avx512
#define PACOS_AVX512
#define PACOS_VNNI(name) _mm256_##name##_epi32
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"   // GCC 12 warns of its own _mm512_undefined_ps
#endif
#include "isa_avx512.hpp"

#include "linear.hpp"

namespace pacos {
const PanelKernels* panels_avx512(int32_t type, int64_t n) {
  const auto& kernels = avx512::kFormats.entry[type];
  return n <= kernels.most_direct || kernels.unpack_floats ? nullptr : &kernels.panels;
}

static void dequantize_row(int32_t type, const void* src, float* dst, int64_t n) {
  kernels_avx2.dequantize_row(type, src, dst, n);
}

const Kernels kernels_avx512 = {
    "avx512",
    avx512::format_facts,
    avx512::quantize_row,
    avx512::linear,
    avx512::linear_scratch,
    dequantize_row,
};
}  // namespace pacos
#endif
