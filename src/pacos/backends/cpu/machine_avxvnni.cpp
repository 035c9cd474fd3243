// The fastest 8-bit multiply-add that AVX-VNNI offers: vpdpbusd.
#include "burn.hpp"

#define PACOS_DOT(sum) "%{vex%} vpdpbusd %%ymm0, %%ymm1, %%ymm" #sum "\n\t"

PACOS_BURN(int8_burn_avxvnni, int32_t, PACOS_DOT, 32)
