/* The kernels for NEON as every 64-bit ARM has it. */
#if defined(__aarch64__)
#define PACOS_ISA neon
#define PACOS_NEON
#include "isa_neon.hpp"

#include "decode.hpp"
#include "linear.hpp"

namespace pacos {
const Kernels kernels_neon = {
    "neon",
    neon::format_facts,
    neon::quantize_row,
    neon::linear,
    neon::linear_scratch,
    neon::dequantize_row,
};
}  // namespace pacos
#endif
