/* AVX-512, VNNI and AMX on machines with AVX2 alone: SIMDe's emulation, plus what it lacks. For tests only: compilers
   include it before everything else. */
#pragma once
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
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
#define _mm512_cvtepi8_epi32(v)                                                    \
  emulate<simde__m512i, __m128i>(v, [](const void* from, void* to) {               \
    for (int i = 0; i < 16; i++) ((int32_t*)to)[i] = ((const int8_t*)from)[i];     \
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

/* ---- AVX-VNNI ---- */
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32
#define _mm256_dpwssd_avx_epi32 simde_mm256_dpwssd_epi32

/* ---- AMX ---- */
struct EmulatedTile {
  int rows, bytes;
  uint8_t row[16][64];
};
static EmulatedTile emulated_tiles[8];

static inline void emulated_loadconfig(const void* from) {
  const uint8_t* at = (const uint8_t*)from;
  for (int t = 0; t < 8; t++) emulated_tiles[t] = {at[48 + t], ((const uint16_t*)(at + 16))[t], {}};
}
static inline void emulated_loadd(int t, const void* from, int64_t stride) {
  for (int r = 0; r < emulated_tiles[t].rows; r++)
    memcpy(emulated_tiles[t].row[r], (const uint8_t*)from + r * stride, (size_t)emulated_tiles[t].bytes);
}
static inline void emulated_stored(int t, void* to, int64_t stride) {
  for (int r = 0; r < emulated_tiles[t].rows; r++)
    memcpy((uint8_t*)to + r * stride, emulated_tiles[t].row[r], (size_t)emulated_tiles[t].bytes);
}
template <class B>
static inline void emulated_dot(int to, int a, int b) {
  const EmulatedTile &s = emulated_tiles[a], &w = emulated_tiles[b];
  for (int m = 0; m < emulated_tiles[to].rows; m++)
    for (int n = 0; n < emulated_tiles[to].bytes / 4; n++)
      for (int k = 0; k < s.bytes; k++)
        ((int32_t*)emulated_tiles[to].row[m])[n] += (int8_t)s.row[m][k] * (B)w.row[k / 4][4 * n + k % 4];
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbssd
#undef _tile_dpbsud
#define _tile_loadconfig emulated_loadconfig
#define _tile_release() memset(emulated_tiles, 0, sizeof emulated_tiles)
#define _tile_zero(t) memset(emulated_tiles[t].row, 0, sizeof emulated_tiles[t].row)
#define _tile_loadd emulated_loadd
#define _tile_stored emulated_stored
#define _tile_dpbssd emulated_dot<int8_t>
#define _tile_dpbsud emulated_dot<uint8_t>
