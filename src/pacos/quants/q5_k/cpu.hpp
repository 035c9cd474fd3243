/* Q5_K for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q5_K {
  static constexpr int type_id = 13, block = 256, bytes = 176, sub = 32, bias = 0, top = 31;
  static constexpr bool has_min = true;
  static constexpr ActKind acts = ACT_Q256;

  PACOS_INLINE Header header(const uint8_t* at) {
    Header h{half_at(at), half_at(at + 2), S16x16{}, S16x16{}};
    six_bit_pairs(at + 4, h.scales, h.mins);
    return h;
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    const U8x32 low = shift_right<i % 2 * 4>(load<U8x32>(at + 48 + i / 2 * 32)) & splat(15);
    return low | move_bit<i, 4>(load<U8x32>(at + 16));
  }
};

PACOS_FORMAT(Q5_K)

}  // namespace pacos::PACOS_ISA
