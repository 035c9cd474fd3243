/* Q4_K from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ4_K {
  static constexpr int type_id = 12, block = 256, bytes = 144;

  static void pack(const float* x, uint8_t* to) {
    uint8_t codes[256];
    pack_six_bit_groups(x, 15, -1.0f, 20, to, codes);
    for (int part = 0; part < 4; part++) put_nibbles<32>(to + 16 + 32 * part, codes + 64 * part);
  }
};

PACOS_PACKER(PackQ4_K)

}  // namespace pacos::PACOS_ISA
