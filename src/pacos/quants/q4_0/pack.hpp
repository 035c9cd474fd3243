/* Q4_0 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ4_0 {
  static constexpr int type_id = 2, block = 32, bytes = 18;

  static void pack(const float* x, uint8_t* to) {
    Codes codes;
    encode_centred<4>(x, codes);
    put_half(to, codes.d);
    put_nibbles<16>(to + 2, codes.code);
  }
};

PACOS_PACKER(PackQ4_0)

}  // namespace pacos::PACOS_ISA
