// The fastest multiply-adds that AVX2 offers: of 8 bits vpmaddubsw and 16-bit sums, of floats vfmadd231ps.
#include "burn.hpp"

#define PACOS_MULTIPLY_ADD(sum) "vfmadd231ps %%ymm0, %%ymm1, %%ymm" #sum "\n\t"
#define PACOS_STEP(product, sum) "vpmaddubsw %%ymm0, %%ymm1, %%ymm" #product "\n\tvpaddw %%ymm" #product ", %%ymm" #sum ", %%ymm" #sum "\n\t"

int64_t pacos::int8_burn_avx2(int64_t rounds, int32_t* sink) {
    int32_t last = 0;
    __asm__ volatile(PACOS_CLEAR_OPERANDS);
    for (int64_t i = 0; i < rounds; ++i)
        __asm__ volatile(PACOS_STEP(2, 8) PACOS_STEP(3, 9) PACOS_STEP(4, 10) PACOS_STEP(5, 11) PACOS_STEP(6, 12)
                             PACOS_STEP(7, 13) PACOS_STEP(2, 14) PACOS_STEP(3, 15) ::
                                 : "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                                   "xmm12", "xmm13", "xmm14", "xmm15");
    __asm__ volatile("vmovd %%xmm8, %0" : "=r"(last));
    *sink += last;
    return rounds * 8 * 32 * 2;
}

PACOS_BURN(float_burn_avx2, float, PACOS_MULTIPLY_ADD, 8)
