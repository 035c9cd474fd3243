/* Q3_K for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct Q3_K {
  static constexpr int type_id = 11, block = 256, bytes = 110, sub = 16, bias = 4, top = 7;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q256;

  PACOS_INLINE Header header(const uint8_t* at) {
    const uint32_t a = load<uint32_t>(at + 96), b = load<uint32_t>(at + 100), top2 = load<uint32_t>(at + 104);
    typedef uint32_t U32x4 __attribute__((vector_size(16)));
    const U32x4 packed = {(a & 0x0f0f0f0f) | (top2 << 4 & 0x30303030), (b & 0x0f0f0f0f) | (top2 << 2 & 0x30303030),
                          (a >> 4 & 0x0f0f0f0f) | (top2 & 0x30303030), (b >> 4 & 0x0f0f0f0f) | (top2 >> 2 & 0x30303030)};
    return {half_at(at + 108), 0.f, widen((U8x16)packed) - 32, S16x16{}};
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    const U8x32 low = shift_right<i % 4 * 2>(load<U8x32>(at + 32 + i / 4 * 32)) & splat(3);
    return low | move_bit<i, 2>(load<U8x32>(at));
  }
};

PACOS_FORMAT(Q3_K)

}  // namespace pacos::PACOS_ISA
