/* The kernels for NEON with dot products and 8-bit matrix multiplications (i8mm). */
#if defined(__aarch64__)
#define PACOS_ISA neoni8mm
#define PACOS_NEON
#include "isa_neon.hpp"

#include "linear.hpp"

namespace pacos {
static void dequantize_row(int32_t type, const void* src, float* dst, int64_t n) {
  kernels_neon.dequantize_row(type, src, dst, n);
}

const Kernels kernels_neoni8mm = {
    "neoni8mm",
    neoni8mm::format_facts,
    neoni8mm::quantize_row,
    neoni8mm::linear,
    neoni8mm::linear_scratch,
    dequantize_row,
};
}  // namespace pacos
#endif
