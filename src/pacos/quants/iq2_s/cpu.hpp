/* IQ2_S for the CPU; the layout is described in __init__.py. */
#include "quants/grids.hpp"

namespace pacos {
inline constexpr auto iq2_s_table = grid_table(iq2_s_grid, 1, 64);
}

namespace pacos::PACOS_ISA {

struct IQ2_S : GridFormat {
  static constexpr int type_id = 22, bytes = 82, sub = 16, bias = 64, top = 107;

  PACOS_INLINE Header header(const uint8_t* at) {
    return {half_at(at) * 0.125f, 0.f, odd_nibbles(load<uint64_t>(at + 74)), S16x16{}};
  }
  PACOS_INLINE SignedIndices<32> open(const uint8_t* at) {
    const U16x16 to_ninth = {256, 64, 16, 4, 256, 64, 16, 4, 256, 64, 16, 4, 256, 64, 16, 4};
    const U8x16 high = (U8x16)U64x2{load<uint64_t>(at + 66), 0};
    const U16x16 first = PACOS_SPREAD_BYTES(high, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const U16x16 second = PACOS_SPREAD_BYTES(high, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
    SignedIndices<32> open;
    store(open.index, (U16x16)widen(load<U8x16>(at + 2)) | (first * to_ninth & 0x300));
    store(open.index + 16, (U16x16)widen(load<U8x16>(at + 18)) | (second * to_ninth & 0x300));
    open.signs = block_bits(load<U32x8>(at + 34));
    return open;
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const SignedIndices<32>& open) {
    return with_signs<bias>(four_vectors(iq2_s_table.entry, open.index + 4 * i), spread_bits<i>(open.signs));
  }
};

PACOS_FORMAT(IQ2_S)

}  // namespace pacos::PACOS_ISA
