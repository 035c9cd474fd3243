/* TQ2_0 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackTQ2_0 {
  static constexpr int type_id = 35, block = 256, bytes = 66;

  static void pack(const float* x, uint8_t* to) {
    uint8_t codes[block];
    const float d = ternary<block>(x, codes);
    for (int half = 0; half < 2; half++)
      for (int i = 0; i < 32; i++) {
        const uint8_t* code = codes + 128 * half + i;
        to[32 * half + i] = (uint8_t)(code[0] | code[32] << 2 | code[64] << 4 | code[96] << 6);
      }
    put_half(to + 64, d);
  }
};

PACOS_PACKER(PackTQ2_0)

}  // namespace pacos::PACOS_ISA
