// The fastest mix of 8-bit multiply-adds that this set offers: sdot. In assembly, because compilers move the sums
// through memory.
#include "machine.hpp"

#define PACOS_STEP(sum) "sdot v" #sum ".4s, v0.16b, v1.16b\n\t"

int64_t pacos::int8_burn_neondot(int64_t rounds, int32_t* sink) {
    int32_t last = 0;
    __asm__ volatile("movi v0.16b, #0\n\tmovi v1.16b, #0" ::: "v0", "v1");
    for (int64_t i = 0; i < rounds; ++i)
        __asm__ volatile(PACOS_STEP(2) PACOS_STEP(3) PACOS_STEP(4) PACOS_STEP(5) PACOS_STEP(6) PACOS_STEP(7)
                             PACOS_STEP(16) PACOS_STEP(17) PACOS_STEP(18) PACOS_STEP(19) PACOS_STEP(20) PACOS_STEP(21) ::
                                 : "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21");
    __asm__ volatile("fmov %w0, s2" : "=r"(last));
    *sink += last;
    return rounds * 12 * 4 * 4 * 2;
}
