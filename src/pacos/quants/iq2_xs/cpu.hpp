/* IQ2_XS for the CPU; the layout is described in __init__.py. */
#include "quants/grids.hpp"

namespace pacos {
inline constexpr auto iq2_xs_table = grid_table(iq2_xs_grid, 1, 64);
}

namespace pacos::PACOS_ISA {

struct IQ2_XS : GridFormat {
  static constexpr int type_id = 17, bytes = 74, sub = 16, bias = 64, top = 107;

  PACOS_INLINE Header header(const uint8_t* at) {
    return {half_at(at) * 0.125f, 0.f, odd_nibbles(load<uint64_t>(at + 66)), S16x16{}};
  }
  PACOS_INLINE SignedIndices<32> open(const uint8_t* at) {
    const U16x16 low = load<U16x16>(at + 2), high = load<U16x16>(at + 34);
    SignedIndices<32> open;
    store(open.index, low & 511);
    store(open.index + 16, high & 511);
    open.signs = block_bits(even_bytes((U32x8)join(narrow_lanes(low >> 9), narrow_lanes(high >> 9))));
    return open;
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const SignedIndices<32>& open) {
    return with_signs<bias>(four_vectors(iq2_xs_table.entry, open.index + 4 * i), spread_bits<i>(open.signs));
  }
};

PACOS_FORMAT(IQ2_XS)

}  // namespace pacos::PACOS_ISA
