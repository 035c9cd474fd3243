/* NVFP4 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct NVFP4 {
  static constexpr int type_id = 40, block = 1, runs = 64, bytes = 36;
  static constexpr ActKind acts = ACT_F32;

  PACOS_INLINE F32x16 values(const uint8_t* at, int first) {
    const uint32_t packed = at[first / 16], bits = packed == 0x7f ? 0 : (packed & 0x7f) << 20;
    const float scale = load<float>(&bits) * 0x1p119f;   // moves the exponent's bias, exact for subnormals too
    const uint64_t eight = load<uint64_t>(at + 4 + first / 2);
    const U8x16 codes = (U8x16)U64x2{eight, eight >> 4} & 15;
    const S8x32 levels = (S8x32)(look_up(kFourBitFloats, join(codes, codes)) - splat(16));
    const S16x16 wide = widen(__builtin_shufflevector(levels, levels, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    float out[16];
    store(out, __builtin_convertvector(__builtin_shufflevector(wide, wide, 0, 1, 2, 3, 4, 5, 6, 7), F32x8) * scale);
    store(out + 8, __builtin_convertvector(__builtin_shufflevector(wide, wide, 8, 9, 10, 11, 12, 13, 14, 15), F32x8) * scale);
    return load_f32(out);
  }
};

PACOS_FORMAT(NVFP4)

}  // namespace pacos::PACOS_ISA
