/* TQ2_0 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct TQ2_0 {
  static constexpr int type_id = 35, block = 256, bytes = 66, sub = 32, bias = 1, top = 3;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q256;

  PACOS_INLINE Header header(const uint8_t* at) { return {half_at(at + 64), 0.f, S16x16{} + 1, S16x16{}}; }

  template <int i>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    return shift_right<i % 4 * 2>(load<U8x32>(at + i / 4 * 32)) & splat(3);
  }
};

PACOS_FORMAT(TQ2_0)

}  // namespace pacos::PACOS_ISA
