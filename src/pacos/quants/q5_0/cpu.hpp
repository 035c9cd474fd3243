/* Q5_0 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q5_0 {
  static constexpr int type_id = 6, block = 32, bytes = 22, bias = 16, top = 31;
  static constexpr bool has_min = false;
  static constexpr int scale_at = 0;   // half floats
  static constexpr ActKind acts = ACT_Q32;

  PACOS_INLINE float scale(const uint8_t* at) { return half_at(at + scale_at); }

  template <int>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    return nibbles(at + 6) | (spread_bits(load<uint32_t>(at + 2)) & splat(16));
  }
};

PACOS_FORMAT(Q5_0)

}  // namespace pacos::PACOS_ISA
