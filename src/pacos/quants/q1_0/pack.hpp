/* Q1_0 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ1_0 {
  static constexpr int type_id = 41, block = 128, bytes = 18;

  static void pack(const float* x, uint8_t* to) {
    float sum = 0.0f;
    for (int i = 0; i < block; i++) sum += __builtin_fabsf(x[i]);   // in order, as ggml adds
    put_half(to, sum / (float)block);
    for (int i = 0; i < block; i += 32) {
      uint8_t signs[32];
      for (int j = 0; j < 32; j++) signs[j] = x[i + j] >= 0.0f ? 1 : 0;
      put_bits<0>(to + 2 + i / 8, signs);
    }
  }
};

PACOS_PACKER(PackQ1_0)

}  // namespace pacos::PACOS_ISA
