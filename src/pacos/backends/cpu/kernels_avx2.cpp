/* The kernels for AVX2 with FMA and F16C. */
#if defined(__x86_64__)
#define PACOS_ISA avx2
#include "isa_avx2.hpp"

#include "decode.hpp"
#include "linear.hpp"

namespace pacos {
const Kernels kernels_avx2 = {
    "avx2",
    avx2::format_facts,
    avx2::quantize_row,
    avx2::linear,
    avx2::linear_scratch,
    avx2::dequantize_row,
};
}  // namespace pacos
#endif
