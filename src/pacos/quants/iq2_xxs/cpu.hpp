/* IQ2_XXS for the CPU; the layout is described in __init__.py. */
#include "quants/grids.hpp"

namespace pacos {
inline constexpr auto iq2_xxs_table = grid_table(iq2_xxs_grid, 1, 64);
}

namespace pacos::PACOS_ISA {

struct IQ2_XXS : GridFormat {
  static constexpr int type_id = 16, bytes = 66, sub = 32, bias = 64, top = 107;

  PACOS_INLINE Header header(const uint8_t* at) {
    return {half_at(at) * 0.125f, 0.f, odd_tops(odd_words(at + 2)), S16x16{}};
  }
  PACOS_INLINE SignedBytes open(const uint8_t* at) { return {at, block_bits(even_signs(odd_words(at + 2)))}; }
  template <int i>
  PACOS_INLINE U8x32 codes(const SignedBytes& open) {
    return with_signs<bias>(four_vectors(iq2_xxs_table.entry, open.at + 2 + 8 * i), spread_bits<i>(open.signs));
  }
};

PACOS_FORMAT(IQ2_XXS)

}  // namespace pacos::PACOS_ISA
