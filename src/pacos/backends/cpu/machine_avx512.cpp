// The fastest multiply-adds that AVX-512 VNNI offers: of 8 bits vpdpbusd, of floats vfmadd231ps.
#include "burn.hpp"

#define PACOS_DOT(sum) "vpdpbusd %%zmm0, %%zmm1, %%zmm" #sum "\n\t"
#define PACOS_MULTIPLY_ADD(sum) "vfmadd231ps %%zmm0, %%zmm1, %%zmm" #sum "\n\t"

PACOS_BURN(int8_burn_avx512, int32_t, PACOS_DOT, 64)
PACOS_BURN(float_burn_avx512, float, PACOS_MULTIPLY_ADD, 16)
