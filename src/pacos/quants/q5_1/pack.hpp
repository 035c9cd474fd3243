/* Q5_1 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ5_1 {
  static constexpr int type_id = 7, block = 32, bytes = 24;

  static void pack(const float* x, uint8_t* to) {
    Codes codes;
    encode_affine<5>(x, codes);
    put_half(to, codes.d);
    put_half(to + 2, codes.m);
    put_bits<4>(to + 4, codes.code);
    put_nibbles<16>(to + 8, codes.code);
  }
};

PACOS_PACKER(PackQ5_1)

}  // namespace pacos::PACOS_ISA
