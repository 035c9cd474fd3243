/* The kernels for AMX, with AVX-512 for all but the products of panels. Untested on such a processor; only its name chooses it. */
#if defined(__x86_64__)
#define PACOS_ISA amx
#define PACOS_AVX512
#define PACOS_AMX
#define PACOS_VNNI(name) _mm256_##name##_epi32
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"   // GCC 12 warns of its own _mm512_undefined_ps
#endif
#include "isa_avx512.hpp"

#include "tiles_amx.hpp"

namespace pacos {
static void quantize_row(int32_t kind, const float* x, int64_t K, void* out) { kernels_avx512.quantize_row(kind, x, K, out); }
static int64_t linear_scratch(int32_t type, int64_t K, int64_t n) { return kernels_avx512.linear_scratch(type, K, n); }
static void dequantize_row(int32_t type, const void* src, float* dst, int64_t n) {
  kernels_avx512.dequantize_row(type, src, dst, n);
}

const Kernels kernels_amx = {
    "amx", amx::format_facts, quantize_row, amx::linear, linear_scratch, dequantize_row,
};
}  // namespace pacos
#endif
