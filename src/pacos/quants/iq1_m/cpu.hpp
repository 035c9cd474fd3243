/* IQ1_M for the CPU; the layout is described in __init__.py. */
#include "quants/grids.hpp"

namespace pacos {
inline constexpr auto iq1_m_table = grid_table(iq1_s_grid, 8, 17);   // eight times the levels, shifted up
}

namespace pacos::PACOS_ISA {

struct IQ1_M : GridFormat {
  static constexpr int type_id = 29, bytes = 56, sub = 16, bias = 16, top = 25;

  PACOS_INLINE Header header(const uint8_t* at) {
    const uint64_t packed = load<uint64_t>(at + 48);
    const uint16_t d = (packed >> 12 & 0xf) | (packed >> 24 & 0xf0) | (packed >> 36 & 0xf00) | (packed >> 48 & 0xf000);
    const U16x16 up = {8192, 1024, 128, 16, 8192, 1024, 128, 16, 8192, 1024, 128, 16, 8192, 1024, 128, 16};
    const U16x8 words = (U16x8)U64x2{packed, 0};
    const U16x16 spread = __builtin_shufflevector(words, words, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return {half_to_float(d) * 0.125f, 0.f, (S16x16)((spread * up >> 12 & 14) + 1), S16x16{}};
  }
  PACOS_INLINE ShiftedIndices open(const uint8_t* at) {
    const U16x16 up = {256, 16, 256, 16, 256, 16, 256, 16, 256, 16, 256, 16, 256, 16, 256, 16};
    ShiftedIndices open;
    open.at = at;
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      const U16x16 nibbles = (U16x16)widen_twice(load<uint64_t>(at + 32 + 8 * j));
      store(open.index + 16 * j, (U16x16)widen(load<U8x16>(at + 16 * j)) | (nibbles * up & 0x700));
    }
    return open;
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const ShiftedIndices& open) {
    const U64x4 shift_bits = {0x8, 0x80, 0x800, 0x8000};
    const U64x4 down = (U64x4)(((U64x4{} + load<uint16_t>(open.at + 32 + 2 * i)) & shift_bits) == shift_bits);
    return four_vectors(iq1_m_table.entry, open.index + 4 * i) - ((U8x32)down & splat(2));
  }
};

PACOS_FORMAT(IQ1_M)

}  // namespace pacos::PACOS_ISA
