/* Q5_0 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ5_0 {
  static constexpr int type_id = 6, block = 32, bytes = 22;

  static void pack(const float* x, uint8_t* to) {
    Codes codes;
    encode_centred<5>(x, codes);
    put_half(to, codes.d);
    put_bits<4>(to + 2, codes.code);
    put_nibbles<16>(to + 6, codes.code);
  }
};

PACOS_PACKER(PackQ5_0)

}  // namespace pacos::PACOS_ISA
