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
const Kernels kernels_avx512 = {
    "avx512",
    avx512::format_facts,
    avx512::quantize_row,
    avx512::linear,
    avx512::linear_scratch,
    avx512::dequantize_row,
};
}  // namespace pacos
#endif
