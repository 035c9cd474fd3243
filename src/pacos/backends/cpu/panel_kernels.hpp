/* panel_kernels.hpp: how one format's panels are made and multiplied. The functions lie behind pointers, so that formats
   whose panels are alike share them, and AMX takes the panels of AVX-512. */
#pragma once
#include <stdint.h>

namespace pacos {

/* Where a tile finds its columns: row c of quantised activations starts at acts + c * stride. */
struct Columns {
  const uint8_t* acts;
  int64_t stride;
  int64_t codes, scale, sum;   // byte offsets of this panel's weights, scales and sums within a row
  int32_t count, bias;         // of columns; of the format's codes
  const uint8_t* prepared;     // codes [column][256]: with kShiftedActs + 128 as u8, with kWide as s16
};

constexpr int kMostTileColumns = 16;

/* acc[panel][column][16 rows] += panels times columns, `blocks` of 32 weights each (1 of 256). */
typedef void (*MultiplyTile)(const void* panels, int count, const Columns& in, int blocks, float (*acc)[16]);

struct PanelKernels {
  int64_t panel_bytes;
  int32_t batch_rows, tile_columns, sub, bias;   // sub: weights that a sum of activations covers
  void (*unpack)(void* panel, const uint8_t* const (&rows)[16], int blocks);
  MultiplyTile tile[kMostTileColumns];   // of 1, 2 ... columns; null for fewer than an even spread gives
};

/* How AVX-512 multiplies n columns by panels; null when it does without. */
const PanelKernels* panels_avx512(int32_t type, int64_t n);

}  // namespace pacos
