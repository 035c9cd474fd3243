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

#include "linear.hpp"

namespace pacos {
const Kernels kernels_amx = {
    "amx",
    amx::format_facts,
    amx::quantize_row,
    amx::linear,
    amx::linear_scratch,
    amx::dequantize_row,
};
}  // namespace pacos
#endif
