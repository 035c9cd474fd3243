/* Q8_0 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackQ8_0 {
  static constexpr int type_id = 8, block = 32, bytes = 34;

  static void pack(const float* x, uint8_t* to) {
    Codes codes;
    encode_signed8(x, codes);
    put_half(to, codes.d);
    __builtin_memcpy(to + 2, codes.code, kCoded);
  }
};

PACOS_PACKER(PackQ8_0)

}  // namespace pacos::PACOS_ISA
