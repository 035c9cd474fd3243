/* Q6_K for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q6_K {
  static constexpr int type_id = 14, block = 256, bytes = 210, sub = 16, bias = 32, top = 63;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q256;

  PACOS_INLINE Header header(const uint8_t* at) {
    return {half_at(at + 208), 0.f, widen(load<S8x16>(at + 192)), S16x16{}};
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    constexpr int part = i / 4, j = i % 4;
    const U8x32 low = shift_right<j / 2 * 4>(load<U8x32>(at + part * 64 + j % 2 * 32)) & splat(15);
    const U8x32 high = load<U8x32>(at + 128 + part * 32);
    if constexpr (j < 3) return low | (shift_left<j < 3 ? 4 - 2 * j : 0>(high) & splat(48));
    return low | (shift_right<2>(high) & splat(48));
  }
};

PACOS_FORMAT(Q6_K)

}  // namespace pacos::PACOS_ISA
