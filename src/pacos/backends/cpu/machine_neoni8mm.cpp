// The fastest 8-bit multiply-add that this set offers: smmla.
#include "burn.hpp"

#define PACOS_DOT(sum) "smmla v" #sum ".4s, v0.16b, v1.16b\n\t"

PACOS_BURN(int8_burn_neoni8mm, int32_t, PACOS_DOT, 4 * 8)
