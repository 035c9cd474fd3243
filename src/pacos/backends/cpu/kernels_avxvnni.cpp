/* The kernels for AVX2 with VNNI. */
#if defined(__x86_64__)
#define PACOS_ISA avxvnni
#define PACOS_VNNI(name) _mm256_##name##_avx_epi32
#include "isa_avxvnni.hpp"

#include "linear.hpp"

namespace pacos {
const Kernels kernels_avxvnni = {
    "avxvnni",
    avxvnni::format_facts,
    avxvnni::quantize_row,
    avxvnni::linear,
    avxvnni::linear_scratch,
    avxvnni::dequantize_row,
};
}  // namespace pacos
#endif
