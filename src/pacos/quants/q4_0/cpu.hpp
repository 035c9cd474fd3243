/* Q4_0 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q4_0 {
  static constexpr int type_id = 2, block = 32, bytes = 18, bias = 8, top = 15;
  static constexpr bool has_min = false;
  static constexpr int scale_at = 0;   // half floats
  static constexpr int nibbles_at = 2;
  static constexpr ActKind acts = ACT_Q32;

  PACOS_INLINE float scale(const uint8_t* at) { return half_at(at + scale_at); }

  template <int>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    return nibbles(at + nibbles_at);
  }
};

PACOS_FORMAT(Q4_0)

}  // namespace pacos::PACOS_ISA
