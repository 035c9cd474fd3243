/* MXFP4 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct MXFP4 {
  static constexpr int type_id = 39, block = 32, bytes = 17, bias = 16, top = 28;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q32;

  PACOS_INLINE float scale(const uint8_t* at) {
    const uint32_t e = at[0], bits = e < 2 ? 0x200000u << e : (e - 1) << 23;
    return load<float>(&bits);
  }
  template <int>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    return look_up(kFourBitFloats, nibbles(at + 1));
  }
};

PACOS_FORMAT(MXFP4)

}  // namespace pacos::PACOS_ISA
