// Make the grids of the codebook formats, and search on them natively: what each search does stands in quants/on_grid.py.
//
// Shapes: G groups of n weights; a grid holds vectors of `width` codes.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "native/pacos.h"
#include "grid_search.hpp"
#include "search.hpp"

namespace {

using pacos::search::best;
using pacos::search::CodeGrid;
using pacos::search::kGroupMax;
using pacos::search::kNearLanes;

constexpr int32_t kWidthMax = 8;

int32_t distance(const uint8_t* a, const uint8_t* b, int32_t width) {
  int32_t sum = 0;
  for (int32_t i = 0; i < width; i++) sum += 4 * (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

/* The vectors of the grid that lie within the nearest `shells` distances. */
void add_neighbours(CodeGrid& grid, const uint8_t* vector, int32_t shells, std::vector<int32_t>& distances) {
  std::vector<int32_t> near(static_cast<size_t>(shells), INT32_MAX);   // ascending
  for (int32_t j = 0; j < grid.count; j++) {
    const int32_t d = distances[static_cast<size_t>(j)] = distance(vector, grid.at(j), grid.width);
    const auto place = std::lower_bound(near.begin(), near.end(), d);
    if (place == near.end() || *place == d) continue;
    near.insert(place, d);
    near.pop_back();
  }
  const size_t first = grid.near.size();
  for (const int32_t d : near)   // nearest first, as equals are taken in this order
    for (int32_t j = 0; d != INT32_MAX && j < grid.count; j++)
      if (distances[static_cast<size_t>(j)] == d) grid.near.push_back(static_cast<uint16_t>(j));
  grid.runs.push_back({static_cast<int32_t>(first), static_cast<int32_t>(grid.near.size() - first)});
  while ((grid.near.size() - first) % kNearLanes != 0) grid.near.push_back(grid.near[first]);
}

void fill(CodeGrid& grid, int32_t shells) {
  grid.places.assign(size_t{1} << grid.bits * grid.width, 0);
  std::vector<bool> known(grid.places.size());
  for (int32_t j = 0; j < grid.count; j++) {
    const auto key = static_cast<size_t>(grid.key(grid.at(j)));
    grid.places[key] = j;
    known[key] = true;
  }
  std::vector<int32_t> distances(static_cast<size_t>(grid.count));
  uint8_t vector[kWidthMax] = {};
  for (;;) {
    const auto key = static_cast<size_t>(grid.key(vector));
    if (!known[key]) {
      grid.places[key] = -1 - static_cast<int32_t>(grid.runs.size());
      add_neighbours(grid, vector, shells, distances);
    }
    int32_t i = 0;
    while (i < grid.width && ++vector[i] == grid.levels) vector[i++] = 0;
    if (i == grid.width) break;
  }
  for (const uint16_t number : grid.near) grid.near_keys.push_back(static_cast<uint16_t>(grid.key(grid.at(number))));
}

const CodeGrid* from(const pacos_grid* grid) { return reinterpret_cast<const CodeGrid*>(grid); }

bool fits(const CodeGrid& grid, int32_t n) { return n > 0 && n <= kGroupMax && n % grid.width == 0; }

}  // namespace

extern "C" {

pacos_grid* pacos_grid_create(const uint8_t* codes, int32_t count, int32_t width, int32_t levels, int32_t shells) {
  const int32_t bits = levels <= 4 ? 2 : 3;
  if (count < 1 || count > 4096 || width < 4 || width > kWidthMax || levels < 2 || levels > 8 || bits * width > 16 || shells < 1)
    return nullptr;
  for (int32_t i = 0; i < count * width; i++)
    if (codes[i] >= levels) return nullptr;
  try {
    auto made = std::make_unique<CodeGrid>(
        CodeGrid{width, levels, bits, count, {codes, codes + count * width}, {}, {}, {}, {}});
    fill(*made, shells);
    return reinterpret_cast<pacos_grid*>(made.release());
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

int32_t pacos_search_on_grid(const pacos_grid* given, const float* x, const float* weights, const float* peaks,
                             int64_t groups, int32_t n, int32_t tries, float step, int32_t again, float* scales,
                             uint16_t* numbers) {
  const CodeGrid& grid = *from(given);
  if (!fits(grid, n)) return -1;
  best().on_grid(grid, x, weights, peaks, groups, {n, tries, again, step}, scales, numbers);
  return 0;
}

int32_t pacos_search_ternary(const pacos_grid* given, const float* x, const float* weights, int64_t groups, int32_t n,
                             int32_t halves, float tiny, float* scales, uint16_t* numbers, uint8_t* shifts) {
  const CodeGrid& grid = *from(given);
  if (!fits(grid, n) || grid.levels != 3) return -1;
  best().ternary(grid, x, weights, groups, n, halves != 0, tiny, scales, numbers, shifts);
  return 0;
}
}
