/* MXFP4 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackMXFP4 {
  static constexpr int type_id = 39, block = 32, bytes = 17;

  static void pack(const float* x, uint8_t* to) {
    const float peak = __builtin_fabsf(largest_magnitude<block>(x));
    const uint8_t e = peak > 0.0f ? (uint8_t)(int32_t)(__builtin_floorf(__builtin_log2f(peak)) + 125.0f) : 0;
    const uint32_t bits = e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23;
    uint8_t codes[block];
    four_bit_floats<block>(x, load<float>(&bits), codes);
    to[0] = e;
    put_nibbles<16>(to + 1, codes);
  }
};

PACOS_PACKER(PackMXFP4)

}  // namespace pacos::PACOS_ISA
