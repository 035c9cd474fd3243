// The fastest mix of 8-bit multiply-adds that AVX-512 VNNI offers: vpdpbusd.
#include <immintrin.h>

#include "machine.hpp"

int64_t pacos::int8_burn_avx512(int64_t rounds, int32_t* sink) {
    __m512i sums[12], codes = _mm512_set1_epi8(3), factors = _mm512_set1_epi8(1);
    for (auto& sum : sums) sum = _mm512_setzero_si512();
    for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
        for (auto& sum : sums) sum = _mm512_dpbusd_epi32(sum, codes, factors);
        __asm__ volatile("" : "+v"(codes), "+v"(factors));
    }
    for (auto& sum : sums) *sink += _mm512_cvtsi512_si32(sum);
    return rounds * 12 * 64 * 2;
}
