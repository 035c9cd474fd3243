/* Q2_K from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ2_K {
  static constexpr int type_id = 10, block = 256, bytes = 84;

  static void pack(const float* x, uint8_t* to) {
    float weights[256], scales[16], minimums[16];
    uint8_t codes[256], coded[16], coded_minimums[16];
    for (int i = 0; i < 256; i++) weights[i] = __builtin_fabsf(x[i]);
    ::scale_and_minimum(x, weights, 16, 16, {3, -0.5f, 0.1f, 15, true}, scales, minimums, codes);
    const float d = share<16>(scales, 15.0f, coded), dmin = share<16>(minimums, 15.0f, coded_minimums);
    for (int g = 0; g < 16; g++) {
      recode<16>(x + 16 * g, d * coded[g], dmin * coded_minimums[g], 0.0f, 3.0f, 0.0f, codes + 16 * g);
      to[g] = (uint8_t)(coded[g] | coded_minimums[g] << 4);
    }
    put_pairs_of_bits(to + 16, codes);
    put_half(to + 80, d);
    put_half(to + 82, dmin);
  }
};

PACOS_PACKER(PackQ2_K)

}  // namespace pacos::PACOS_ISA
