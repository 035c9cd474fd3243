/* grids.hpp: what the CPU code of the codebook formats (IQ1, IQ2, IQ3) shares: tables, signs and look-ups.

   Codes are unsigned bytes with a bias, so the tables hold biased levels: a negative weight is 2 * bias - entry. */
#pragma once
#include "backends/cpu/vector.hpp"

namespace pacos {

#include "pacos_grids.inc"

/* A codebook as the kernels read it, padded so that 16 bytes can be read at any entry. */
template <class T, int count>
struct GridTable {
  alignas(64) T entry[count + 16 / sizeof(T)];
};

/* Each level times `factor` plus `bias`. */
template <class T, int count>
consteval GridTable<T, count> grid_table(const T (&grid)[count], int factor, int bias) {
  GridTable<T, count> table{};
  for (int i = 0; i < count; i++)
    for (unsigned j = 0; j < sizeof(T); j++) {
      const int level = (int8_t)(grid[i] >> 8 * j & 255);
      table.entry[i] |= (T)((level * factor + bias) & 255) << 8 * j;
    }
  return table;
}

}  // namespace pacos

namespace pacos::PACOS_ISA {

/* A bit for each of 256 weights, ready to be spread. */
struct BlockBits {
#if defined(__AVX2__)
  __m256i half[2];   // each half in both lanes
#else
  uint32_t word[8];
#endif
};

PACOS_INLINE BlockBits block_bits(U32x8 words) {
#if defined(__AVX2__)
  const __m256i v = (__m256i)words;
  return {{_mm256_permute2x128_si256(v, v, 0x00), _mm256_permute2x128_si256(v, v, 0x11)}};
#else
  BlockBits bits;
  store(bits.word, words);
  return bits;
#endif
}

/* What all these formats have in common, and what open() of a block gives: indices and signs, byte indices that lie in
   the block and signs, or indices and the block, whose shifts of levels are read later. */
struct GridFormat {
  static constexpr int block = 256;
  static constexpr bool has_min = false;
  static constexpr ActKind acts = ACT_Q256;
};
template <int count>
struct SignedIndices {
  alignas(32) uint16_t index[count];
  BlockBits signs;
};
struct SignedBytes {
  const uint8_t* at;
  BlockBits signs;
};
struct ShiftedIndices {
  const uint8_t* at;
  alignas(32) uint16_t index[32];
};

/* Byte j is 255 where the bit of weight 32 i + j is set. */
template <int i>
PACOS_INLINE U8x32 spread_bits(const BlockBits& bits) {
#if defined(__AVX2__)
  const __m256i first = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
  const __m256i pick = _mm256_add_epi8(first, _mm256_set1_epi8(i % 4 * 4));
  const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
  const __m256i bytes = _mm256_shuffle_epi8(bits.half[i / 4], pick);
  return (U8x32)_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
#else
  return spread_bits(bits.word[i]);
#endif
}

/* Sets the top bit of each byte so that the number of set bits is even. */
PACOS_INLINE U32x8 even_bytes(U32x8 sevens) {
  U32x8 parity = sevens ^ sevens >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return sevens | (parity & 0x01010101) << 7;
}

/* Four times seven bits of each word, each as a byte with an eighth bit that makes their number even. */
PACOS_INLINE U32x8 even_signs(U32x8 words) {
  return even_bytes((words & 0x7f) | (words << 1 & 0x7f00) | (words << 2 & 0x7f0000) | (words << 3 & 0x7f000000));
}

/* Codes with the sign of `negative` bytes turned. */
template <int bias>
PACOS_INLINE U8x32 with_signs(U8x32 codes, U8x32 negative) {
#if defined(__AVX2__)
  return (U8x32)_mm256_blendv_epi8((__m256i)codes, (__m256i)(splat(2 * bias) - codes), (__m256i)negative);
#else
  return (codes & ~negative) | ((splat(2 * bias) - codes) & negative);
#endif
}

/* The entries of four indices, 32 weights. */
template <class Index>
PACOS_INLINE U8x32 four_vectors(const uint64_t* entries, const Index* at) {
#if defined(__AVX2__)
  const auto pair = [&](int i) {
    const __m128i low = _mm_loadl_epi64((const __m128i*)(entries + at[i]));
    return _mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(low), (const double*)(entries + at[i + 1])));
  };
  return (U8x32)_mm256_set_m128i(pair(2), pair(0));
#else
  return (U8x32)U64x4{entries[at[0]], entries[at[1]], entries[at[2]], entries[at[3]]};
#endif
}

/* The entries of eight indices, 32 weights. */
template <class Index>
PACOS_INLINE U8x32 eight_vectors(const uint32_t* entries, const Index* at) {
#if defined(__AVX2__)
  const auto pair = [&](int i) {
    const __m128i low = _mm_loadu_si32(entries + at[i]);
    return _mm_unpacklo_epi32(low, _mm_loadu_si128((const __m128i*)(entries + at[i + 1])));
  };
  return (U8x32)_mm256_set_m128i(_mm_unpacklo_epi64(pair(4), pair(6)), _mm_unpacklo_epi64(pair(0), pair(2)));
#else
  const U32x8 v = {entries[at[0]], entries[at[1]], entries[at[2]], entries[at[3]],
                   entries[at[4]], entries[at[5]], entries[at[6]], entries[at[7]]};
  return (U8x32)v;
#endif
}

/* Bytes of a shuffled 16-byte vector as 16 lanes. */
#define PACOS_SPREAD_BYTES(v, ...) ((U16x16)widen(__builtin_shufflevector(v, v, __VA_ARGS__)))

/* The scales 2 * s + 1 of 16 groups of 16 weights, s in the nibbles of eight bytes, low ones first. */
PACOS_INLINE S16x16 odd_nibbles(uint64_t packed) {
  const U16x16 low_high = {16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1};
  return (S16x16)(((U16x16)widen_twice(packed) * low_high >> 3 & 30) + 1);
}

/* Every second u32 of 64 bytes: the words of eight groups. */
PACOS_INLINE U32x8 odd_words(const uint8_t* at) {
  return __builtin_shufflevector(load<U32x8>(at), load<U32x8>(at + 32), 1, 3, 5, 7, 9, 11, 13, 15);
}

/* The scales 2 * s + 1 of 8 groups of 32 weights, s in the top four bits of each word. */
PACOS_INLINE S16x16 odd_tops(U32x8 words) {
  const U32x8 scales = (words >> 27 & 30) + 1;
  return (S16x16)(scales | scales << 16);
}

}  // namespace pacos::PACOS_ISA
