/* BF16 from floats: to nearest, ties to even; a NaN stays one and becomes quiet. */

namespace pacos::PACOS_ISA {

struct PackBF16 {
  static constexpr int type_id = 30, block = 1, bytes = 2, many = 16;

  static void pack(const float* x, uint8_t* to) {
    const uint32_t bits = load<uint32_t>(x), upper = bits >> 16;
    const uint32_t rounded = (bits + 0x7fff + (upper & 1)) >> 16;
    store(to, (uint16_t)(magnitude_bits(*x) > 0x7f800000 ? upper | 64 : rounded));
  }
  static void pack_many(const float* x, uint8_t* to) {
    for (int i = 0; i < 16; i++) pack(x + i, to + 2 * i);
  }
};

PACOS_PACKER(PackBF16)

}  // namespace pacos::PACOS_ISA
