/* NVFP4 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackNVFP4 {
  static constexpr int type_id = 40, block = 64, bytes = 36;

  /* The nearest eight-bit float to x >= 0, halves away from zero. */
  PACOS_INLINE uint8_t eight_bits(float x) {
    if (!(x < 448.0f)) x = 448.0f;
    if (x < 0x1p-6f) {
      const int32_t code = (int32_t)(x * 512.0f + 0.5f);
      return (uint8_t)(code < 7 ? code : 7);
    }
    const int32_t code = (int32_t)((load<uint32_t>(&x) + (1u << 19)) >> 20) - (120 << 3);   // carries into the exponent
    return (uint8_t)(code < 0x7e ? code : 0x7e);
  }
  /* Half of what it stands for. */
  PACOS_INLINE float halved(uint8_t code) {
    const int32_t exponent = code >> 3, mantissa = code & 7;
    return exponent == 0 ? (float)mantissa * 0x1p-10f : (float)(mantissa + 8) * (float)(1 << exponent) * 0x1p-11f;
  }

  static void pack(const float* x, uint8_t* to) {
    for (int group = 0; group < 4; group++) {
      const float* mine = x + 16 * group;
      uint8_t codes[16];
      to[group] = eight_bits(__builtin_fabsf(largest_magnitude<16>(mine)) / 6.0f);
      four_bit_floats<16>(mine, halved(to[group]), codes);
      put_nibbles<8>(to + 4 + 8 * group, codes);
    }
  }
};

PACOS_PACKER(PackNVFP4)

}  // namespace pacos::PACOS_ISA
