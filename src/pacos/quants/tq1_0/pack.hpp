/* TQ1_0 from floats; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct PackTQ1_0 {
  static constexpr int type_id = 34, block = 256, bytes = 54;

  /* Five planes of `count` codes, or four: digits of numbers below 243, which become fractions of 256, rounded up. */
  template <int count, int planes>
  PACOS_INLINE void pack_run(const uint8_t* codes, uint8_t* to) {
    for (int i = 0; i < count; i++) {
      uint32_t digits = 0;
      for (int plane = 0; plane < 5; plane++) digits = 3 * digits + (plane < planes ? codes[plane * count + i] : 0);
      to[i] = (uint8_t)((digits * 256 + 242) / 243);
    }
  }

  static void pack(const float* x, uint8_t* to) {
    uint8_t codes[block];
    const float d = ternary<block>(x, codes);
    pack_run<32, 5>(codes, to);
    pack_run<16, 5>(codes + 160, to + 32);
    pack_run<4, 4>(codes + 240, to + 48);
    put_half(to + 52, d);
  }
};

PACOS_PACKER(PackTQ1_0)

}  // namespace pacos::PACOS_ISA
