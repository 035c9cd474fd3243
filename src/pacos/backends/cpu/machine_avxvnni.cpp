// The fastest mix of 8-bit multiply-adds that AVX-VNNI offers: vpdpbusd. In assembly, because compilers move the sums
// through memory.
#include <immintrin.h>

#include "machine.hpp"

#define PACOS_STEP(sum) "%{vex%} vpdpbusd %%ymm0, %%ymm1, %%ymm" #sum "\n\t"

int64_t pacos::int8_burn_avxvnni(int64_t rounds, int32_t* sink) {
    int32_t last = 0;
    __asm__ volatile("vpxor %%ymm0, %%ymm0, %%ymm0\n\tvpxor %%ymm1, %%ymm1, %%ymm1" ::: "xmm0", "xmm1");
    for (int64_t i = 0; i < rounds; ++i)
        __asm__ volatile(PACOS_STEP(2) PACOS_STEP(3) PACOS_STEP(4) PACOS_STEP(5) PACOS_STEP(6) PACOS_STEP(7)
                             PACOS_STEP(8) PACOS_STEP(9) PACOS_STEP(10) PACOS_STEP(11) PACOS_STEP(12) PACOS_STEP(13) ::
                                 : "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                                   "xmm12", "xmm13");
    __asm__ volatile("vmovd %%xmm2, %0" : "=r"(last));
    *sink += last;
    return rounds * 12 * 32 * 2;
}
