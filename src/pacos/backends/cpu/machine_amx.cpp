// The fastest mix of 8-bit multiply-adds that AMX offers: tdpbssd on four tiles of 16 x 16 sums. Untested on such a
// processor.
#include <immintrin.h>

#include "machine.hpp"

int64_t pacos::int8_burn_amx(int64_t rounds, int32_t* sink) {
    alignas(64) uint8_t shapes[64] = {1};
    for (int t = 0; t < 8; ++t) {
        shapes[16 + 2 * t] = 64;  // bytes of a row
        shapes[48 + t] = 16;      // rows
    }
    alignas(64) int32_t sums[16][16];
    _tile_loadconfig(shapes);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int64_t i = 0; i < rounds; ++i) {
        _tile_dpbssd(0, 4, 5);
        _tile_dpbssd(1, 4, 5);
        _tile_dpbssd(2, 4, 5);
        _tile_dpbssd(3, 4, 5);
    }
    _tile_stored(0, sums, 64);
    _tile_release();
    *sink += sums[0][0];
    return rounds * 4 * 16 * 16 * 64 * 2;
}
