/* Q5_1 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q5_1 {
  static constexpr int type_id = 7, block = 32, bytes = 24, bias = 0, top = 31;
  static constexpr bool has_min = true;
  static constexpr int scale_at = 0, min_at = 2;   // half floats
  static constexpr ActKind acts = ACT_Q32;

  PACOS_INLINE float scale(const uint8_t* at) { return half_at(at + scale_at); }
  PACOS_INLINE float minimum(const uint8_t* at) { return half_at(at + min_at); }
  template <int>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    return nibbles(at + 8) | (spread_bits(load<uint32_t>(at + 4)) & splat(16));
  }
};

PACOS_FORMAT(Q5_1)

}  // namespace pacos::PACOS_ISA
