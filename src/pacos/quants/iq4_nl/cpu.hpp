/* IQ4_NL for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct IQ4_NL {
  static constexpr int type_id = 20, block = 32, bytes = 18, bias = 128, top = 255;
  static constexpr int scale_at = 0;   // half floats
  static constexpr int codes_at = 2;
  static constexpr auto levels = kNonlinearLevels;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q32;

  PACOS_INLINE float scale(const uint8_t* at) { return half_at(at + scale_at); }

  template <int>
  PACOS_INLINE S8x32 codes(const uint8_t* at) {
    return (S8x32)look_up((U8x16)levels, nibbles(at + codes_at));
  }
};

PACOS_FORMAT(IQ4_NL)

}  // namespace pacos::PACOS_ISA
