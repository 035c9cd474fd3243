/* Q4_1 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ4_1 {
  static constexpr int type_id = 3, block = 32, bytes = 20;

  static void pack(const float* x, uint8_t* to) {
    Codes codes;
    encode_affine<4>(x, codes);
    put_half(to, codes.d);
    put_half(to + 2, codes.m);
    put_nibbles<16>(to + 4, codes.code);
  }
};

PACOS_PACKER(PackQ4_1)

}  // namespace pacos::PACOS_ISA
