/* Q1_0 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q1_0 {
  static constexpr int type_id = 41, block = 32, runs = 4, bytes = 18, bias = 1, top = 2;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q32;

  template <int>
  PACOS_INLINE float scale(const uint8_t* at) { return half_at(at); }

  template <int i>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    return spread_bits(load<uint32_t>(at + 2 + 4 * i)) & splat(2);
  }
};

PACOS_FORMAT(Q1_0)

}  // namespace pacos::PACOS_ISA
