/* The kernels in plain C++: they run everywhere and are what every other instruction set is compared with. */
#define PACOS_ISA portable
#include "isa_portable.hpp"

#include "plain.hpp"

namespace pacos {
const Kernels kernels_portable = {
    "portable",
    portable::format_facts,
    portable::quantize_row,
    portable::linear,
    portable::linear_scratch,
    portable::dequantize_row,
};
}  // namespace pacos
