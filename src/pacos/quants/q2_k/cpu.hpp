/* Q2_K for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q2_K {
  static constexpr int type_id = 10, block = 256, bytes = 84, sub = 16, bias = 0, top = 3;
  static constexpr bool has_min = true;
  static constexpr ActKind acts = ACT_Q256;

  PACOS_INLINE Header header(const uint8_t* at) {
    const U8x16 packed = load<U8x16>(at);
    return {half_at(at + 80), half_at(at + 82), widen(packed & 15), widen(packed >> 4)};
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    return shift_right<i % 4 * 2>(load<U8x32>(at + 16 + i / 4 * 32)) & splat(3);
  }
};

PACOS_FORMAT(Q2_K)

}  // namespace pacos::PACOS_ISA
