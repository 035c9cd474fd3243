/* F32 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct F32 {
  static constexpr int type_id = 0, block = 1, bytes = 4;
  static constexpr ActKind acts = ACT_F32;

  PACOS_INLINE float value(const uint8_t* at) { return load<float>(at); }
  PACOS_INLINE F32x16 values(const uint8_t* at) { return load_f32(at); }
};

PACOS_FORMAT(F32)

}  // namespace pacos::PACOS_ISA
