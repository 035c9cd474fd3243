/* IQ4_XS from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackIQ4_XS {
  static constexpr int type_id = 23, block = 256, bytes = 136;

  static void pack(const float* x, uint8_t* to) {
    float scales[16] = {};   // eight
    uint8_t codes[256], six[8];
    nonlinear_scales<8>(x, scales);
    const float d = -largest_magnitude<16>(scales) / 32.0f, factor = inverse(d);
    for (int g = 0; g < 8; g++) {
      const float coded = nearest(factor * scales[g], -32.0f, 31.0f);
      nearest_nonlinear(x + 32 * g, inverse(d * coded), codes + 32 * g);
      six[g] = (uint8_t)(int32_t)(coded + 32.0f);
    }
    put_half(to, d);
    for (int i = 0; i < 2; i++) {
      const uint8_t* four = six + 4 * i;
      to[2 + i] = (uint8_t)(four[0] >> 4 | four[1] >> 4 << 2 | four[2] >> 4 << 4 | four[3] >> 4 << 6);
    }
    for (int i = 0; i < 4; i++) to[4 + i] = (uint8_t)((six[2 * i] & 15) | (six[2 * i + 1] & 15) << 4);
    for (int part = 0; part < 8; part++) put_nibbles<16>(to + 8 + 16 * part, codes + 32 * part);
  }
};

PACOS_PACKER(PackIQ4_XS)

}  // namespace pacos::PACOS_ISA
