/* Q8_0 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q8_0 {
  static constexpr int type_id = 8, block = 32, bytes = 34, bias = 128, top = 255;
  static constexpr bool has_min = false;
  static constexpr int scale_at = 0;   // half floats
  static constexpr ActKind acts = ACT_Q32;

  PACOS_INLINE float scale(const uint8_t* at) { return half_at(at + scale_at); }

  template <int>
  PACOS_INLINE S8x32 codes(const uint8_t* at) {
    return load<S8x32>(at + 2);
  }
};

PACOS_FORMAT(Q8_0)

}  // namespace pacos::PACOS_ISA
