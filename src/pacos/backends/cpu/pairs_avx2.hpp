/* pairs_avx2.hpp: one column times nibbles that stand for signed levels (IQ4_XS, IQ4_NL), 64 weights at a time.

   The 16 bytes of a group of 32 weights and those of the fourth group behind it make a vector: their low nibbles one of
   codes, their high nibbles another. Activations are put into that order once for many rows, with their sizes beside
   them: u8 x s8 products need one side without signs, and these are moved to the weights. */
#pragma once
#include "vector.hpp"

namespace pacos::PACOS_ISA {

template <class F>
concept HasLevels = requires { F::levels; };
template <class F>
constexpr bool kPaired = HasLevels<F>;

/* `count` activations, a multiple of 256: of groups a and a + 4 of 32 numbers 0..15 of both and their sizes, then 16..31
   of both and theirs; side by side, as loads that lie 4096 bytes apart get into each other's way. */
[[maybe_unused]] static __attribute__((noinline)) void pair_activations(const uint8_t* from, int64_t count, uint8_t* pairs) {
  for (int64_t i = 0; i < count; i += 64) {
    const uint8_t* first = from + i / 256 * 256 + i % 256 / 2;
    const __m256i a = load<__m256i>(first), b = load<__m256i>(first + 128);
    const __m256i low = _mm256_permute2x128_si256(a, b, 0x20), high = _mm256_permute2x128_si256(a, b, 0x31);
    store(pairs + 2 * i, low), store(pairs + 2 * i + 32, _mm256_abs_epi8(low));
    store(pairs + 2 * i + 64, high), store(pairs + 2 * i + 96, _mm256_abs_epi8(high));
  }
}

/* Sums of two products each, of the low and of the high nibbles of groups at `first` and `second`. */
template <class F>
PACOS_INLINE void multiply_nibbles(__m256i (&t)[2], const uint8_t* first, const uint8_t* second, const uint8_t* pairs) {
  const U8x32 both = (U8x32)_mm256_inserti128_si256(_mm256_castsi128_si256(load<__m128i>(first)), load<__m128i>(second), 1);
  const U8x32 halves[2] = {both & splat(15), shift_right<4>(both) & splat(15)};
#pragma GCC unroll 2
  for (int h = 0; h < 2; h++) {
    const __m256i levels = (__m256i)look_up((U8x16)F::levels, halves[h]);
    t[h] = _mm256_maddubs_epi16(load<__m256i>(pairs + 64 * h + 32), _mm256_sign_epi8(levels, load<__m256i>(pairs + 64 * h)));
  }
}

template <class F>
PACOS_INLINE I32x8 dot_paired_block(const uint8_t* groups, S16x16 scales, const uint8_t* pairs) {
  __m256i acc = _mm256_setzero_si256();
  repeat<4>([&]<int i>() PACOS_INLINED {
    const __m256i scale = _mm256_shuffle_epi8((__m256i)scales, _mm256_set1_epi16((short)(4 * i | (4 * i + 1) << 8)));
    __m256i t[2];
    multiply_nibbles<F>(t, groups + 16 * i, groups + 16 * i + 64, pairs + 128 * i);
    acc = add_pairs(add_pairs(acc, t[0], scale), t[1], scale);
  });
  return (I32x8)acc;
}

/* The sums of up to 8 blocks of 256 weights; `place` tells where they lie in their rows. */
template <class F, class Place>
PACOS_INLINE void dot_paired256(int32_t* sum, float* d, const uint8_t* weights, int blocks, Place& place, const uint8_t* pairs) {
  I32x8 parts[8];
  if (blocks < 8)
    for (int j = 0; j < 8; j++) parts[j] = I32x8{};
#pragma GCC unroll 1
  for (int j = 0; j < blocks; j++, weights += F::bytes) {
    const Header h = F::header(weights);
    parts[j] = dot_paired_block<F>(weights + F::codes_at, h.scales, pairs + 512 * place.next());
    d[j] = h.d;
  }
  store(sum, sums8(parts));
}

/* The sums of 8 blocks of 32 weights. */
template <class F>
PACOS_INLINE void dot_paired32(int32_t* sum, float* d, const uint8_t* weights, const uint8_t* pairs) {
  const __m256i ones = _mm256_set1_epi16(1);
  const auto pair = [&](int i) PACOS_INLINED {
    const uint8_t* block = weights + i * F::bytes + F::codes_at;
    __m256i t[2];
    multiply_nibbles<F>(t, block, block + 4 * F::bytes, pairs + 128 * i);
    return _mm256_add_epi32(_mm256_madd_epi16(t[0], ones), _mm256_madd_epi16(t[1], ones));
  };
  store(sum, add_across<64>(add_across<32>(pair(0), pair(1)), add_across<32>(pair(2), pair(3))));
  store(d, halves8<F::scale_at + 16 <= F::bytes>([&](int j) { return weights + j * F::bytes + F::scale_at; }));
}

}  // namespace pacos::PACOS_ISA
