// The loop of a burn that multiplies and adds into twelve independent sums, in assembly, because compilers move the sums
// through memory. Each machine_<isa>.cpp gives the instruction.
#pragma once
#include "machine.hpp"

#if defined(__x86_64__)
#define PACOS_TWELVE(step) \
    step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11) step(12) step(13)
#define PACOS_TWELVE_SUMS "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13"
#define PACOS_CLEAR_OPERANDS "vpxor %%ymm0, %%ymm0, %%ymm0\n\tvpxor %%ymm1, %%ymm1, %%ymm1" ::: "xmm0", "xmm1"
#define PACOS_READ_SUM "vmovd %%xmm2, %0" : "=m"(last)
#else
#define PACOS_TWELVE(step) \
    step(2) step(3) step(4) step(5) step(6) step(7) step(16) step(17) step(18) step(19) step(20) step(21)
#define PACOS_TWELVE_SUMS "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21"
#define PACOS_CLEAR_OPERANDS "movi v0.16b, #0\n\tmovi v1.16b, #0" ::: "v0", "v1"
#define PACOS_READ_SUM "str s2, %0" : "=m"(last)
#endif

// step(sum): an instruction that does `products` multiplications and as many additions.
#define PACOS_BURN(name, Sink, step, products)                                        \
    int64_t pacos::name(int64_t rounds, Sink* sink) {                                 \
        Sink last = 0;                                                                \
        __asm__ volatile(PACOS_CLEAR_OPERANDS);                                       \
        for (int64_t i = 0; i < rounds; ++i)                                          \
            __asm__ volatile(PACOS_TWELVE(step)::: PACOS_TWELVE_SUMS);                \
        __asm__ volatile(PACOS_READ_SUM);                                             \
        *sink += last;                                                                \
        return rounds * 12 * (products) * 2;                                          \
    }
