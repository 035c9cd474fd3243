/* TQ1_0 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct TQ1_0 {
  static constexpr int type_id = 34, block = 256, bytes = 54, sub = 32, bias = 1, top = 2;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q256;

  PACOS_INLINE Header header(const uint8_t* at) { return {half_at(at + 52), 0.f, S16x16{} + 1, S16x16{}}; }

  /* Bytes times 3^plane, modulo 256. */
  template <int plane, class Bytes>
  PACOS_INLINE Bytes fractions(Bytes v) {
    if constexpr (plane > 0) return fractions<plane - 1>((Bytes)(v + v + v));
    else return v;
  }
  template <int i>
  PACOS_INLINE U8x32 codes(const uint8_t* at) {
    U8x32 v;
    if constexpr (i < 5) {
      v = fractions<i>(load<U8x32>(at));
    } else {
      constexpr int plane = (i - 5) * 2;
      const U8x16 run = load<U8x16>(at + 32);
      if constexpr (i < 7) {
        v = join(fractions<plane>(run), fractions<plane + 1>(run));
      } else {
        typedef uint32_t U32x4 __attribute__((vector_size(16)));
        const U32x4 four = U32x4{} + load<uint32_t>(at + 48);
        const U32x4 powers = {1, 3, 9, 27};
        const U32x4 even = (four & 0x00ff00ff) * powers & 0x00ff00ff, odd = (four >> 8 & 0x00ff00ff) * powers & 0x00ff00ff;
        v = join(fractions<4>(run), (U8x16)(even | odd << 8));
      }
    }
    return splat(0) - (U8x32)(v > splat(85)) - (U8x32)(v > splat(170));   // 3 * v / 256
  }
};

PACOS_FORMAT(TQ1_0)

}  // namespace pacos::PACOS_ISA
