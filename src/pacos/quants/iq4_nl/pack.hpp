/* IQ4_NL from floats, eight blocks at a time; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackIQ4_NL {
  static constexpr int type_id = 20, block = 32, bytes = 18, many = 256;

  template <int blocks>
  PACOS_INLINE void pack_some(const float* x, uint8_t* to) {
    float scales[blocks];
    nonlinear_scales<blocks>(x, scales);
    for (int b = 0; b < blocks; b++, x += block, to += bytes) {
      uint8_t codes[block];
      nearest_nonlinear(x, inverse(scales[b]), codes);
      put_half(to, scales[b]);
      put_nibbles<16>(to + 2, codes);
    }
  }
  static void pack(const float* x, uint8_t* to) { pack_some<1>(x, to); }
  static void pack_many(const float* x, uint8_t* to) { pack_some<8>(x, to); }
};

PACOS_PACKER(PackIQ4_NL)

}  // namespace pacos::PACOS_ISA
