/* BF16 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct BF16 {
  static constexpr int type_id = 30, block = 1, bytes = 2;
  static constexpr ActKind acts = ACT_F32;

  PACOS_INLINE float value(const uint8_t* at) {
    const uint32_t wide = (uint32_t)load<uint16_t>(at) << 16;
    return load<float>(&wide);
  }
  PACOS_INLINE F32x16 values(const uint8_t* at) { return load_bf16(at); }
};

PACOS_FORMAT(BF16)

}  // namespace pacos::PACOS_ISA
