/* The kernels for AVX-512 with VNNI. */
#if defined(__x86_64__)
#define PACOS_ISA avx512
#define PACOS_AVX512
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
