/* IQ3_XXS for the CPU; the layout is described in __init__.py. */
#include "quants/grids.hpp"

namespace pacos {
inline constexpr auto iq3_xxs_table = grid_table(iq3_xxs_grid, 1, 64);
}

namespace pacos::PACOS_ISA {

struct IQ3_XXS : GridFormat {
  static constexpr int type_id = 18, bytes = 98, sub = 32, bias = 64, top = 126;

  PACOS_INLINE Header header(const uint8_t* at) {
    return {half_at(at) * 0.25f, 0.f, odd_tops(load<U32x8>(at + 66)), S16x16{}};
  }
  PACOS_INLINE SignedBytes open(const uint8_t* at) { return {at, block_bits(even_signs(load<U32x8>(at + 66)))}; }
  template <int i>
  PACOS_INLINE U8x32 codes(const SignedBytes& open) {
    return with_signs<bias>(eight_vectors(iq3_xxs_table.entry, open.at + 2 + 8 * i), spread_bits<i>(open.signs));
  }
};

PACOS_FORMAT(IQ3_XXS)

}  // namespace pacos::PACOS_ISA
