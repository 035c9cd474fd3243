// The fastest mix of 8-bit multiply-adds that AVX2 offers: vpmaddubsw with 16-bit sums.
#include <immintrin.h>

#include "machine.hpp"

int64_t pacos::int8_burn_avx2(int64_t rounds, int32_t* sink) {
    __m256i sums[12], codes = _mm256_set1_epi8(3), factors = _mm256_set1_epi8(1);
    for (auto& sum : sums) sum = _mm256_setzero_si256();
    for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
        for (auto& sum : sums) {
            sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, factors));
            __asm__ volatile("" : "+x"(codes));  // or the product would be computed once for all sums
        }
    }
    for (auto& sum : sums) *sink += _mm256_extract_epi16(sum, 0);
    return rounds * 12 * 32 * 2;
}
