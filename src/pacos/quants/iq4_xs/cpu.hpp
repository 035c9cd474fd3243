/* IQ4_XS for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct IQ4_XS {
  static constexpr int type_id = 23, block = 256, bytes = 136, sub = 32, bias = 128, top = 255;
  static constexpr int codes_at = 8;
  static constexpr auto levels = kNonlinearLevels;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q256;

  PACOS_INLINE Header header(const uint8_t* at) {
    const U32x8 nibble = {0, 4, 8, 12, 16, 20, 24, 28}, pair = {0, 2, 4, 6, 8, 10, 12, 14};
    const U32x8 low = (U32x8{} + load<uint32_t>(at + 4)) >> nibble, high = (U32x8{} + load<uint16_t>(at + 2)) >> pair;
    const S16x16 scales = (S16x16)((I32x8)((low & 15) | (high << 4 & 48)) - 32);
    return {half_at(at), 0.f, __builtin_shufflevector(scales, scales, 0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14), S16x16{}};
  }
  template <int i>
  PACOS_INLINE S8x32 codes(const uint8_t* at) {
    return (S8x32)look_up((U8x16)levels, nibbles(at + codes_at + 16 * i));
  }
};

PACOS_FORMAT(IQ4_XS)

}  // namespace pacos::PACOS_ISA
