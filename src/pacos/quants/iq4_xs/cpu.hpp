/* IQ4_XS for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct IQ4_XS {
  static constexpr int type_id = 23, block = 32, runs = 8, bytes = 136, bias = 128, top = 255;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q32;

  template <int i>
  PACOS_INLINE float scale(const uint8_t* at) {
    const int low = at[4 + i / 2] >> i % 2 * 4 & 15, high = load<uint16_t>(at + 2) >> 2 * i & 3;
    return half_at(at) * (float)((low | high << 4) - 32);
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    return look_up(kNonlinearLevels, nibbles(at + 8 + 16 * i));
  }
};

PACOS_FORMAT(IQ4_XS)

}  // namespace pacos::PACOS_ISA
