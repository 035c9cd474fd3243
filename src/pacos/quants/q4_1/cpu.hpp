/* Q4_1 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q4_1 {
  static constexpr int type_id = 3, block = 32, bytes = 20, bias = 0, top = 15;
  static constexpr bool has_min = true;
  static constexpr int scale_at = 0, min_at = 2;   // half floats
  static constexpr int nibbles_at = 4;
  static constexpr ActKind acts = ACT_Q32;

  PACOS_INLINE float scale(const uint8_t* at) { return half_at(at + scale_at); }
  PACOS_INLINE float minimum(const uint8_t* at) { return half_at(at + min_at); }
  template <int>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    return nibbles(at + nibbles_at);
  }
};

PACOS_FORMAT(Q4_1)

}  // namespace pacos::PACOS_ISA
