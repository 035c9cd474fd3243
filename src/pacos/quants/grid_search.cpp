// Searches on the grids of the codebook formats: what each does stands in quants/on_grid.py.
//
// Every sum is taken in order of the weights, as in ggml's quantizers, so that the bytes are ggml's too.
// Shapes: G groups of n weights; a grid holds vectors of `width` codes, which stand for levels 2 * code + 1 (or, of
// three, for -1, 0, 1 and a shift).
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "native/pacos.h"

namespace {

constexpr int32_t kGroupMax = 32, kWidthMax = 8, kVectorsMax = 8;
constexpr float kShift = 0.125f;   // of the levels of IQ1

struct Grid {
  int32_t width, levels, bits, count;
  std::vector<uint8_t> codes;           // [count][width]
  std::vector<int32_t> places;          // of each vector of codes: its number on the grid, or -1 - where its neighbours begin
  std::vector<uint16_t> neighbours;     // runs, each with its length before it, the order that of the grid

  const uint8_t* at(int32_t number) const { return codes.data() + number * width; }
  int32_t key(const uint8_t* vector) const {
    int32_t found = 0;
    for (int32_t i = 0; i < width; i++) found |= vector[i] << bits * i;
    return found;
  }
};

int32_t distance(const uint8_t* a, const uint8_t* b, int32_t width) {
  int32_t sum = 0;
  for (int32_t i = 0; i < width; i++) sum += 4 * (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

/* The vectors of the grid that lie within the nearest `shells` distances. */
void add_neighbours(Grid& grid, const uint8_t* vector, int32_t shells, std::vector<int32_t>& distances) {
  std::vector<int32_t> near(static_cast<size_t>(shells), INT32_MAX);   // ascending
  for (int32_t j = 0; j < grid.count; j++) {
    const int32_t d = distances[static_cast<size_t>(j)] = distance(vector, grid.at(j), grid.width);
    const auto place = std::lower_bound(near.begin(), near.end(), d);
    if (place == near.end() || *place == d) continue;
    near.insert(place, d);
    near.pop_back();
  }
  const size_t head = grid.neighbours.size();
  grid.neighbours.push_back(0);
  for (const int32_t d : near)   // nearest first, as equals are taken in this order
    for (int32_t j = 0; d != INT32_MAX && j < grid.count; j++)
      if (distances[static_cast<size_t>(j)] == d) grid.neighbours.push_back(static_cast<uint16_t>(j));
  grid.neighbours[head] = static_cast<uint16_t>(grid.neighbours.size() - head - 1);
}

void fill(Grid& grid, int32_t shells) {
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
      grid.places[key] = -1 - static_cast<int32_t>(grid.neighbours.size());
      add_neighbours(grid, vector, shells, distances);
    }
    int32_t i = 0;
    while (i < grid.width && ++vector[i] == grid.levels) vector[i++] = 0;
    if (i == grid.width) return;
  }
}

/* The number on the grid of these codes, or of the neighbour that loses least, whose codes they become. */
int32_t settle(const Grid& grid, const float* levels, const float* x, const float* weights, float scale, uint8_t* vector,
               bool* kept) {
  const int32_t place = grid.places[static_cast<size_t>(grid.key(vector))];
  if (kept != nullptr) *kept = place >= 0;
  if (place >= 0) return place;
  const uint16_t* run = grid.neighbours.data() + (-1 - place);
  int32_t best = run[1];
  float least = FLT_MAX;
  for (int32_t k = 1; k <= run[0]; k++) {
    const uint8_t* codes = grid.at(run[k]);
    float error = 0;
    for (int32_t i = 0; i < grid.width; i++) {
      const float miss = scale * levels[codes[i]] - x[i];
      error += weights[i] * miss * miss;
    }
    if (error < least) least = error, best = run[k];
  }
  std::memcpy(vector, grid.at(best), static_cast<size_t>(grid.width));
  return best;
}

struct Fit {
  float match = 0, norm = 0;
};

Fit fit(const float* levels, const float* x, const float* weights, const uint8_t* codes, int32_t n) {
  Fit found;
  for (int32_t i = 0; i < n; i++) {
    const float w = weights[i], level = levels[codes[i]];
    found.match += w * x[i] * level;
    found.norm += w * level * level;
  }
  return found;
}

void nearest_codes(const Grid& grid, const float* x, float inverse, uint8_t* codes) {
  for (int32_t i = 0; i < grid.width; i++) {
    const float wanted = std::nearbyintf(0.5f * (inverse * x[i] - 1));
    codes[i] = static_cast<uint8_t>(std::max(0.0f, std::min(static_cast<float>(grid.levels - 1), wanted)));
  }
}

struct Rules {
  int32_t n, tries, again;
  float step;
};

/* One group: its scale, and the number of each vector. */
float search_group(const Grid& grid, const Rules& rules, const float* levels, const float* x, const float* weights,
                   float peak, uint16_t* numbers) {
  const int32_t n = rules.n, vectors = n / grid.width;
  const auto top = static_cast<float>(2 * grid.levels - 1);
  float roots[kGroupMax];
  for (int32_t i = 0; i < n; i++) roots[i] = std::sqrt(weights[i]);
  uint8_t codes[kGroupMax] = {}, tried[kGroupMax];
  bool kept[kVectorsMax], kept_tried[kVectorsMax];
  std::fill(std::begin(kept), std::end(kept), rules.again != 1);
  float scale = peak / top, best = 0;
  for (int32_t turn = -rules.tries; turn <= rules.tries; turn++) {
    const float inverse = (top + static_cast<float>(turn) * rules.step) / peak, this_scale = 1 / inverse;
    for (int32_t k = 0; k < vectors; k++) {
      const int32_t at = k * grid.width;
      nearest_codes(grid, x + at, inverse, tried + at);
      settle(grid, levels, x + at, roots + at, this_scale, tried + at, kept_tried + k);
    }
    const Fit found = fit(levels, x, weights, tried, n);
    if (found.norm > 0 && found.match * found.match > best * found.norm) {
      scale = found.match / found.norm;
      best = scale * found.match;
      std::memcpy(codes, tried, sizeof codes);
      std::memcpy(kept, kept_tried, sizeof kept);
    }
  }
  const bool any = std::find(kept, kept + vectors, false) != kept + vectors;
  if (scale > 0 && (any || rules.again == 2)) {
    for (int32_t k = 0; k < vectors; k++) {
      const int32_t at = k * grid.width;
      if (rules.again == 0 && kept[k]) continue;
      nearest_codes(grid, x + at, 1 / scale, codes + at);
      settle(grid, levels, x + at, roots + at, scale, codes + at, nullptr);
    }
    const Fit found = fit(levels, x, weights, codes, n);
    if (found.norm > 0) scale = found.match / found.norm;
  }
  for (int32_t k = 0; k < vectors; k++)
    numbers[k] = static_cast<uint16_t>(settle(grid, levels, x + k * grid.width, roots + k * grid.width, scale,
                                              codes + k * grid.width, nullptr));
  return scale;
}

/* ---- three levels ---- */

/* Sums over the smallest weights of a group, and where these lie. */
struct Sorted {
  int32_t order[kGroupMax];
  float x[2][kGroupMax + 1], w[2][kGroupMax + 1];   // of the first half of the group and of the second, or of all of it

  Sorted(const float* values, const float* weights, int32_t n, bool halves) {
    for (int32_t i = 0; i < n; i++) order[i] = i;
    std::stable_sort(order, order + n, [&](int32_t a, int32_t b) { return values[a] < values[b]; });
    x[0][0] = x[1][0] = w[0][0] = w[1][0] = 0;
    for (int32_t j = 0; j < n; j++) {
      const int32_t i = order[j], mine = halves && i >= n / 2 ? 1 : 0;
      x[mine][j + 1] = x[mine][j] + weights[i] * values[i];
      w[mine][j + 1] = w[mine][j] + weights[i];
      x[1 - mine][j + 1] = x[1 - mine][j];
      w[1 - mine][j + 1] = w[1 - mine][j];
    }
  }
};

constexpr float kLevels[2][3] = {{-1 + kShift, kShift, 1 + kShift}, {-1 - kShift, -kShift, 1 - kShift}};   // up, down

struct Split {
  float scale = 0, score = -FLT_MAX;
  int32_t low = -1, high = -1, shifts = 0;   // a bit for each half that is shifted down, the first half's the higher

  void offer(Fit found, int32_t i, int32_t j, int32_t how) {
    if (!(found.norm > 0 && found.match * found.match > score * found.norm)) return;
    scale = found.match / found.norm;
    score = scale * found.match;
    low = i, high = j, shifts = how;
  }
};

/* Where the group is best cut into those that become -1, 0 and 1, with one shift for all. */
Split one_shift(const Sorted& sums, int32_t n) {
  Split best;
  const float *x = sums.x[0], *w = sums.w[0];
  for (int32_t i = 0; i <= n; i++)
    for (int32_t j = i; j <= n; j++)
      for (int32_t how = 0; how < 2; how++) {
        const float* level = kLevels[how];
        best.offer({(x[i] - x[0]) * level[0] + (x[j] - x[i]) * level[1] + (x[n] - x[j]) * level[2],
                    (w[i] - w[0]) * level[0] * level[0] + (w[j] - w[i]) * level[1] * level[1] +
                        (w[n] - w[j]) * level[2] * level[2]},
                   i, j, how * 3);
      }
  return best;
}

/* The same with a shift for each half. */
Split two_shifts(const Sorted& sums, int32_t n) {
  Split best;
  for (int32_t i = 0; i <= n; i++)
    for (int32_t j = i; j <= n; j++) {
      Fit part[2][2];   // [shift][half]
      for (int32_t how = 0; how < 2; how++)
        for (int32_t half = 0; half < 2; half++) {
          const float *x = sums.x[half], *w = sums.w[half], *level = kLevels[how];
          part[how][half] = {x[n] * level[2] - (x[i] + x[j]),
                             w[n] * level[2] * level[2] + w[i] * (level[0] * level[0] - level[1] * level[1]) +
                                 w[j] * (level[1] * level[1] - level[2] * level[2])};
        }
      for (int32_t how = 0; how < 4; how++) {
        const Fit &first = part[how / 2][0], &second = part[how % 2][1];
        best.offer({first.match + second.match, first.norm + second.norm}, i, j, how);
      }
    }
  return best;
}

float search_ternary(const Grid& grid, int32_t n, bool halves, const float* x, const float* weights, uint16_t* numbers,
                     uint8_t* shifts) {
  const int32_t vectors = n / grid.width;
  const Sorted sums(x, weights, n, halves);
  Split best = halves ? two_shifts(sums, n) : one_shift(sums, n);
  if (best.low < 0) return 0;
  uint8_t codes[kGroupMax];
  for (int32_t j = 0; j < n; j++) codes[sums.order[j]] = j < best.low ? 0 : j < best.high ? 1 : 2;
  if (best.scale < 0) {
    for (int32_t j = 0; j < n; j++) codes[j] = static_cast<uint8_t>(2 - codes[j]);
    best.scale = -best.scale;
    best.shifts = 3 - best.shifts;
  }
  bool all_kept = true;
  const auto levels = [&](int32_t k) { return kLevels[halves && k > 0 ? best.shifts % 2 : best.shifts / 2]; };
  for (int32_t k = 0; k < vectors; k++) {
    bool kept;
    const int32_t at = k * grid.width;
    numbers[k] = static_cast<uint16_t>(settle(grid, levels(k), x + at, weights + at, best.scale, codes + at, &kept));
    all_kept = all_kept && kept;
  }
  if (!all_kept) {
    Fit found;
    for (int32_t i = 0; i < n; i++) {
      const float w = weights[i], level = levels(i / grid.width)[codes[i]];
      found.match += w * level * x[i];
      found.norm += w * level * level;
    }
    if (found.match > 0 && found.norm > 0) best.scale = found.match / found.norm;
  }
  shifts[0] = static_cast<uint8_t>(best.shifts / 2);
  if (halves) shifts[1] = static_cast<uint8_t>(best.shifts % 2);
  return best.scale;
}

const Grid* from(const pacos_grid* grid) { return reinterpret_cast<const Grid*>(grid); }

bool fits(const Grid& grid, int32_t n) { return n > 0 && n <= kGroupMax && n % grid.width == 0; }

}  // namespace

extern "C" {

pacos_grid* pacos_grid_create(const uint8_t* codes, int32_t count, int32_t width, int32_t levels, int32_t shells) {
  const int32_t bits = levels <= 4 ? 2 : 3;
  if (count < 1 || count > 4096 || width < 4 || width > kWidthMax || levels < 2 || levels > 8 || bits * width > 16 || shells < 1)
    return nullptr;
  for (int32_t i = 0; i < count * width; i++)
    if (codes[i] >= levels) return nullptr;
  try {
    auto made = std::make_unique<Grid>(Grid{width, levels, bits, count, {codes, codes + count * width}, {}, {}});
    fill(*made, shells);
    return reinterpret_cast<pacos_grid*>(made.release());
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

int32_t pacos_search_on_grid(const pacos_grid* given, const float* x, const float* weights, const float* peaks,
                             int64_t groups, int32_t n, int32_t tries, float step, int32_t again, float* scales,
                             uint16_t* numbers) {
  const Grid& grid = *from(given);
  if (!fits(grid, n)) return -1;
  float levels[8];
  for (int32_t i = 0; i < 8; i++) levels[i] = static_cast<float>(2 * i + 1);
  for (int64_t g = 0; g < groups; g++) {
    uint16_t* mine = numbers + g * (n / grid.width);
    std::fill(mine, mine + n / grid.width, uint16_t{0});
    scales[g] = 0;
    if (peaks[g] > 0) scales[g] = search_group(grid, {n, tries, again, step}, levels, x + g * n, weights + g * n, peaks[g], mine);
  }
  return 0;
}

int32_t pacos_search_ternary(const pacos_grid* given, const float* x, const float* weights, int64_t groups, int32_t n,
                             int32_t halves, float tiny, float* scales, uint16_t* numbers, uint8_t* shifts) {
  const Grid& grid = *from(given);
  if (!fits(grid, n) || grid.levels != 3) return -1;
  for (int64_t g = 0; g < groups; g++) {
    uint16_t* mine = numbers + g * (n / grid.width);
    uint8_t* my_shifts = shifts + g * (halves != 0 ? 2 : 1);
    std::fill(mine, mine + n / grid.width, uint16_t{0});
    std::fill(my_shifts, my_shifts + (halves != 0 ? 2 : 1), uint8_t{0});
    float peak = 0;
    for (int32_t i = 0; i < n; i++) peak = std::max(peak, std::fabs(x[g * n + i]));
    scales[g] = peak < tiny ? 0 : search_ternary(grid, n, halves != 0, x + g * n, weights + g * n, mine, my_shifts);
  }
  return 0;
}
}
