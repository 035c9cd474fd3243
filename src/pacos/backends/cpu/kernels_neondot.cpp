/* The kernels for NEON with dot products. */
#if defined(__aarch64__)
#define PACOS_ISA neondot
#define PACOS_NEON
#include "isa_neon.hpp"

#include "linear.hpp"

namespace pacos {
const Kernels kernels_neondot = {
    "neondot",
    neondot::format_facts,
    neondot::quantize_row,
    neondot::linear,
    neondot::linear_scratch,
    neondot::dequantize_row,
};
}  // namespace pacos
#endif
