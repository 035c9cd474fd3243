/* AVX-512 with VNNI on machines without it: SIMDe's emulation, plus the conversions that it lacks. For tests only. */
#pragma once
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/dpwssd.h>
#pragma GCC diagnostic pop

template <class Out, class In, class Convert>
static inline Out emulate(In in, Convert convert) {
  Out out;
  convert((const void*)&in, (void*)&out);
  return out;
}

#define __m512 simde__m512
#define __m512i simde__m512i
#define _mm512_cvtepi32_ps(v)                                                      \
  emulate<simde__m512, simde__m512i>(v, [](const void* from, void* to) {           \
    for (int i = 0; i < 16; i++) ((float*)to)[i] = (float)((const int32_t*)from)[i]; \
  })
#define _mm512_cvtepu16_epi32(v)                                                   \
  emulate<simde__m512i, __m256i>(v, [](const void* from, void* to) {               \
    for (int i = 0; i < 16; i++) ((int32_t*)to)[i] = ((const uint16_t*)from)[i];   \
  })
#define _mm512_cvtph_ps(v)                                                         \
  emulate<simde__m512, __m256i>(v, [](const void* from, void* to) {                \
    for (int i = 0; i < 16; i++) ((float*)to)[i] = _cvtsh_ss(((const uint16_t*)from)[i]); \
  })
#define _mm512_srai_epi32(v, bits)                                                 \
  emulate<simde__m512i, simde__m512i>(v, [](const void* from, void* to) {          \
    for (int i = 0; i < 16; i++) ((int32_t*)to)[i] = ((const int32_t*)from)[i] >> bits; \
  })
#define _mm512_cvtps_epi32(v)                                                      \
  emulate<simde__m512i, simde__m512>(v, [](const void* from, void* to) {           \
    for (int i = 0; i < 16; i++) ((int32_t*)to)[i] = _mm_cvtss_si32(_mm_set_ss(((const float*)from)[i])); \
  })
#define _mm512_cvtps_ph(v, mode)                                                   \
  emulate<__m256i, simde__m512>(v, [](const void* from, void* to) {                \
    for (int i = 0; i < 16; i++) ((uint16_t*)to)[i] = _cvtss_sh(((const float*)from)[i], mode); \
  })
#define _mm512_extractf32x8_ps(v, half)                                            \
  emulate<__m256, simde__m512>(v, [](const void* from, void* to) {                 \
    for (int i = 0; i < 8; i++) ((float*)to)[i] = ((const float*)from)[i + 8 * half]; \
  })
