/* Q8_K for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q8_K {
  static constexpr int type_id = 15, block = 32, runs = 8, bytes = 292, bias = 128, top = 255;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q32;

  template <int>
  PACOS_INLINE float scale(const uint8_t* at) { return load<float>(at); }

  template <int i>
  PACOS_INLINE S8x32 codes(const uint8_t* at) {
    return load<S8x32>(at + 4 + 32 * i);
  }
};

PACOS_FORMAT(Q8_K)

}  // namespace pacos::PACOS_ISA
