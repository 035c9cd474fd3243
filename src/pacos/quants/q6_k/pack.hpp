/* Q6_K from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ6_K {
  static constexpr int type_id = 14, block = 256, bytes = 210;

  static void pack(const float* x, uint8_t* to) {
    float scales[16];
    uint8_t codes[256];
    ::scales_of<::best_signed>(x, nullptr, 16, 16, 32, scales, codes);
    const float factor = shared_factor(scales, 128.0f);
    if (factor == 0.0f) {
      __builtin_memset(to, 0, bytes);
      return;
    }
    const float d = through_half(1.0f / factor);
    for (int g = 0; g < 16; g++) {
      const float coded = nearest(scales[g] * factor, -128.0f, 127.0f);
      recode<16>(x + 16 * g, d * coded, 0.0f, -32.0f, 31.0f, 32.0f, codes + 16 * g);
      to[192 + g] = (uint8_t)(int32_t)coded;
    }
    for (int part = 0; part < 2; part++) put_nibbles<64>(to + 64 * part, codes + 128 * part);
    for (int i = 0; i < 256; i++) codes[i] >>= 4;
    put_pairs_of_bits(to + 128, codes);
    put_half(to + 208, d);
  }
};

PACOS_PACKER(PackQ6_K)

}  // namespace pacos::PACOS_ISA
