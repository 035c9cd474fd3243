/* Q2_0 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ2_0 {
  static constexpr int type_id = 42, block = 64, bytes = 18;

  static void pack(const float* x, uint8_t* to) {
    uint8_t codes[block];
    put_half(to, ternary<block>(x, codes));
    for (int i = 0; i < 16; i++)
      to[2 + i] = (uint8_t)(codes[4 * i] | codes[4 * i + 1] << 2 | codes[4 * i + 2] << 4 | codes[4 * i + 3] << 6);
  }
};

PACOS_PACKER(PackQ2_0)

}  // namespace pacos::PACOS_ISA
