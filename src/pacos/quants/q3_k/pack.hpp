/* Q3_K from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ3_K {
  static constexpr int type_id = 11, block = 256, bytes = 110;

  static void pack(const float* x, uint8_t* to) {
    float scales[16];
    uint8_t codes[256], six[16] = {};
    ::scales_of<::refined>(x, nullptr, 16, 16, 4, scales, codes);
    const float factor = shared_factor(scales, 32.0f);
    const float d = factor == 0.0f ? 0.0f : through_half(1.0f / factor);
    for (int g = 0; g < 16; g++) {
      const float coded = factor == 0.0f ? -32.0f : nearest(scales[g] * factor, -32.0f, 31.0f);
      recode<16>(x + 16 * g, d * coded, 0.0f, -4.0f, 3.0f, 4.0f, codes + 16 * g);
      six[g] = (uint8_t)(int32_t)(coded + 32.0f);
    }
    uint8_t thirds[32] = {};
    for (int plane = 0; plane < 8; plane++)
      for (int i = 0; i < 32; i++) thirds[i] = (uint8_t)(thirds[i] | codes[32 * plane + i] >> 2 << plane);
    __builtin_memcpy(to, thirds, 32);
    put_pairs_of_bits(to + 32, codes);
    put_nibbles<8>(to + 96, six);
    for (int i = 0; i < 4; i++)
      to[104 + i] = (uint8_t)(six[i] >> 4 | six[4 + i] >> 4 << 2 | six[8 + i] >> 4 << 4 | six[12 + i] >> 4 << 6);
    put_half(to + 108, d);
  }
};

PACOS_PACKER(PackQ3_K)

}  // namespace pacos::PACOS_ISA
