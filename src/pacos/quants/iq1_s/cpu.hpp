/* IQ1_S for the CPU; the layout is described in __init__.py. */
#include "quants/grids.hpp"

namespace pacos {
inline constexpr auto iq1_s_table = grid_table(iq1_s_grid, 8, 16);   // eight times the levels
}

namespace pacos::PACOS_ISA {

struct IQ1_S : GridFormat {
  static constexpr int type_id = 19, bytes = 50, sub = 32, bias = 16, top = 25;

  PACOS_INLINE Header header(const uint8_t* at) {
    const U16x8 words = load<U16x8>(at + 34);
    const U16x16 twice = __builtin_shufflevector(words, words, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return {half_at(at) * 0.125f, 0.f, (S16x16)((twice >> 11 & 14) + 1), S16x16{}};
  }
  PACOS_INLINE ShiftedIndices open(const uint8_t* at) {
    const U16x16 up = {256, 32, 4, 0, 256, 32, 4, 0, 256, 32, 4, 0, 256, 32, 4, 0};   // three bits to bits 8 to 10
    const U16x16 down = {0, 0, 0, 0x700, 0, 0, 0, 0x700, 0, 0, 0, 0x700, 0, 0, 0, 0x700};
    const U16x8 words = load<U16x8>(at + 34);
    const U16x16 first = __builtin_shufflevector(words, words, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const U16x16 second = __builtin_shufflevector(words, words, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
    ShiftedIndices open;
    open.at = at;
    store(open.index, (U16x16)widen(load<U8x16>(at + 2)) | (first * up & 0x700) | (first >> 1 & down));
    store(open.index + 16, (U16x16)widen(load<U8x16>(at + 18)) | (second * up & 0x700) | (second >> 1 & down));
    return open;
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const ShiftedIndices& open) {
    const uint8_t shift = 1 - (open.at[34 + 2 * i + 1] >> 6 & 2);
    return four_vectors(iq1_s_table.entry, open.index + 4 * i) + splat(shift);
  }
};

PACOS_FORMAT(IQ1_S)

}  // namespace pacos::PACOS_ISA
