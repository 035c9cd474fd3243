/* grid_search.hpp: the grid of a codebook format, and where the vectors beside it are to go.

   A vector of codes is one number, its key: `bits` for each code, the first one lowest. */
#pragma once
#include <stdint.h>

#include <vector>

namespace pacos::search {

constexpr int32_t kNearLanes = 8;   // neighbours are read so many at a time

// The neighbours of a vector that is not on the grid, nearest first; behind the last the first one again.
struct Run {
  int32_t first, count;
};

struct CodeGrid {
  int32_t width, levels, bits, count;
  std::vector<uint8_t> codes;           // [count][width]
  std::vector<int32_t> places;          // of each key: its number on the grid, or -1 - its run
  std::vector<Run> runs;
  std::vector<uint16_t> near, near_keys;  // of all runs, numbers on the grid and keys

  const uint8_t* at(int32_t number) const { return codes.data() + number * width; }
  int32_t key(const uint8_t* vector) const {
    int32_t found = 0;
    for (int32_t i = 0; i < width; i++) found |= vector[i] << bits * i;
    return found;
  }
};

// Groups of n weights try 2 * tries + 1 scales, `step` / peak apart; `again` says which vectors are taken anew.
struct GridRules {
  int32_t n, tries, again;
  float step;
};

}  // namespace pacos::search
