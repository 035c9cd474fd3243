/* F16 from floats, sixteen at a time; what is left is packed one by one. */

namespace pacos::PACOS_ISA {

struct PackF16 {
  static constexpr int type_id = 1, block = 1, bytes = 2, many = 16;

  static void pack(const float* x, uint8_t* to) { put_half(to, *x); }
  static void pack_many(const float* x, uint8_t* to) {
#if defined(__F16C__)
    for (int i = 0; i < 16; i += 8)
      store(to + 2 * i, _mm256_cvtps_ph(load<__m256>(x + i), _MM_FROUND_TO_NEAREST_INT));
#else
    for (int i = 0; i < 16; i++) put_half(to + 2 * i, x[i]);
#endif
  }
};

PACOS_PACKER(PackF16)

}  // namespace pacos::PACOS_ISA
