/* F16 for the CPU; the layout is described in __init__.py. */

namespace pacos::PACOS_ISA {

struct F16 {
  static constexpr int type_id = 1, block = 1, bytes = 2;
  static constexpr ActKind acts = ACT_F32;

  PACOS_INLINE float value(const uint8_t* at) { return half_at(at); }
  PACOS_INLINE F32x16 values(const uint8_t* at) { return load_f16(at); }
};

PACOS_FORMAT(F16)

}  // namespace pacos::PACOS_ISA
