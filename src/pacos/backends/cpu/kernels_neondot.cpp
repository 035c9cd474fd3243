/* The kernels for NEON with dot products. */
#if defined(__aarch64__)
#define PACOS_ISA neondot
#define PACOS_NEON
#include "isa_neon.hpp"

#include "linear.hpp"

namespace pacos {
static void dequantize_row(int32_t type, const void* src, float* dst, int64_t n) {
  kernels_neon.dequantize_row(type, src, dst, n);
}

const Kernels kernels_neondot = {
    "neondot",
    neondot::format_facts,
    neondot::quantize_row,
    neondot::linear,
    neondot::linear_scratch,
    dequantize_row,
};
}  // namespace pacos
#endif
