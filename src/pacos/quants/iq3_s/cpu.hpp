/* IQ3_S for the CPU; the layout is described in __init__.py. */
#include "quants/grids.hpp"

namespace pacos {
inline constexpr auto iq3_s_table = grid_table(iq3_s_grid, 1, 16);
}

namespace pacos::PACOS_ISA {

struct IQ3_S : GridFormat {
  static constexpr int type_id = 21, bytes = 110, sub = 32, bias = 16, top = 31;

  PACOS_INLINE Header header(const uint8_t* at) {
    const U8x16 packed = (U8x16)U64x2{load<uint32_t>(at + 106), 0};
    const U16x16 low_high = {16, 16, 1, 1, 16, 16, 1, 1, 16, 16, 1, 1, 16, 16, 1, 1};
    const U16x16 spread = PACOS_SPREAD_BYTES(packed, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return {half_at(at), 0.f, (S16x16)((spread * low_high >> 3 & 30) + 1), S16x16{}};
  }
  PACOS_INLINE SignedIndices<64> open(const uint8_t* at) {
    const U16x16 to_ninth = {256, 128, 64, 32, 16, 8, 4, 2, 256, 128, 64, 32, 16, 8, 4, 2};
    const U8x16 high = (U8x16)U64x2{load<uint64_t>(at + 66), 0};
    const U16x16 ninth[4] = {PACOS_SPREAD_BYTES(high, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
                             PACOS_SPREAD_BYTES(high, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3),
                             PACOS_SPREAD_BYTES(high, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5),
                             PACOS_SPREAD_BYTES(high, 6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7)};
    SignedIndices<64> open;
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
      store(open.index + 16 * j, (U16x16)widen(load<U8x16>(at + 2 + 16 * j)) | (ninth[j] * to_ninth & 0x100));
    open.signs = block_bits(load<U32x8>(at + 74));
    return open;
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const SignedIndices<64>& open) {
    return with_signs<bias>(eight_vectors(iq3_s_table.entry, open.index + 8 * i), spread_bits<i>(open.signs));
  }
};

PACOS_FORMAT(IQ3_S)

}  // namespace pacos::PACOS_ISA
