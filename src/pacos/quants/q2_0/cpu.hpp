/* Q2_0 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q2_0 {
  static constexpr int type_id = 42, block = 32, runs = 2, bytes = 18, bias = 1, top = 3;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q32;

  template <int>
  PACOS_INLINE float scale(const uint8_t* at) { return half_at(at); }

  template <int i>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    typedef uint8_t U8x8 __attribute__((vector_size(8)));
    const U32x8 four = __builtin_convertvector(load<U8x8>(at + 2 + 8 * i), U32x8);   // codes in the lowest byte
    return (U8x32)(four | four << 6 | four << 12 | four << 18) & splat(3);
  }
};

PACOS_FORMAT(Q2_0)

}  // namespace pacos::PACOS_ISA
