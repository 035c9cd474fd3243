/* Q5_K from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ5_K {
  static constexpr int type_id = 13, block = 256, bytes = 176;

  static void pack(const float* x, uint8_t* to) {
    uint8_t codes[256], fifths[32] = {};
    pack_six_bit_groups(x, 31, -0.5f, 15, to, codes);
    for (int plane = 0; plane < 8; plane++)
      for (int i = 0; i < 32; i++) fifths[i] = (uint8_t)(fifths[i] | codes[32 * plane + i] >> 4 << plane);
    __builtin_memcpy(to + 16, fifths, 32);
    for (int part = 0; part < 4; part++) put_nibbles<32>(to + 48 + 32 * part, codes + 64 * part);
  }
};

PACOS_PACKER(PackQ5_K)

}  // namespace pacos::PACOS_ISA
