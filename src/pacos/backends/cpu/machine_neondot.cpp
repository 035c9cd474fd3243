// The fastest 8-bit multiply-add that this set offers: sdot.
#include "burn.hpp"

#define PACOS_DOT(sum) "sdot v" #sum ".4s, v0.16b, v1.16b\n\t"

PACOS_BURN(int8_burn_neondot, int32_t, PACOS_DOT, 4 * 4)
