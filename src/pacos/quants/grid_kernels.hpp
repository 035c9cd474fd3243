/* grid_kernels.hpp: searches on the grids of the codebook formats: what each does stands in quants/on_grid.py.
   Every sum is taken in order of the weights, as in ggml's quantizers, so that the bytes are ggml's too: lanes are
   neighbours of one vector, or scales of one group. Included once by each file of an instruction set, behind
   search_kernels.hpp.

   Shapes: G groups of n weights; a grid holds vectors of `width` codes, which stand for levels 2 * code + 1 (or, of
   three, for -1, 0, 1 and a shift). */
#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "grid_search.hpp"

namespace {

using pacos::search::CodeGrid;
using pacos::search::GridRules;
using pacos::search::kNearLanes;
using pacos::search::Run;

constexpr int32_t kWidthMax = 8, kVectorsMax = 8, kTurnsMax = 32, kCodesMax = 8;
constexpr float kShift = 0.125f;   // of the levels of IQ1

/* What each code stands for, eight of them whatever the number of levels: keys are looked up by three bits. */
struct Levels {
  alignas(32) float at[kCodesMax];

  Levels(const float* levels, int32_t bits) {
    for (int32_t i = 0; i < kCodesMax; i++) at[i] = levels[i & ((1 << bits) - 1)];
  }
};

/* The entries of a table of eight, by the low three bits of each lane. */
inline F looked_up(const float* table, I lanes) {
#if defined(__AVX2__)
  return (F)_mm256_permutevar8x32_ps(_mm256_load_ps(table), (__m256i)lanes);
#else
  F found;
  for (int32_t l = 0; l < LANES; l++) found[l] = table[lanes[l] & 7];
  return found;
#endif
}

#if PACOS_LANES == 8
constexpr I kIota = {0, 1, 2, 3, 4, 5, 6, 7};
#else
constexpr I kIota = {0, 1, 2, 3};
#endif

inline I keys_at(const uint16_t* keys) {
#if defined(__AVX2__)
  return (I)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)keys));
#else
  I found;
  for (int32_t l = 0; l < LANES; l++) found[l] = keys[l];
  return found;
#endif
}

/* Which of a run loses least, the first of those. Costs are those of each weight and code. */
template <int32_t width, int32_t bits>
int32_t least_of(const CodeGrid& grid, Run run, const float (*costs)[kCodesMax]) {
  static_assert(kNearLanes % LANES == 0);
  F least = splat(FLT_MAX);
  I best{}, position = kIota;
  const uint16_t* keys = grid.near_keys.data() + run.first;
  for (int32_t k = 0; k < run.count; k += LANES) {
    const I lanes = keys_at(keys + k);
    F error{};
    for (int32_t i = 0; i < width; i++) error += looked_up(costs[i], lanes >> bits * i);
    const I better = error < least;
    least = choose(better, error, least);
    best = (better & position) | (~better & best);
    position += LANES;
  }
  int32_t found = 0;
  float minimum = FLT_MAX;
  for (int32_t l = 0; l < LANES; l++)
    if (least[l] < minimum || (least[l] == minimum && minimum < FLT_MAX && best[l] < found))
      minimum = least[l], found = best[l];
  return run.first + found;
}

/* The key on the grid in place of one beside it: that of the neighbour that loses least. */
int32_t settled(const CodeGrid& grid, const Levels& levels, const float* x, const float* weights, float scale, int32_t key) {
  const int32_t place = grid.places[static_cast<size_t>(key)];
  if (place >= 0) return key;
  alignas(32) float costs[kWidthMax][kCodesMax];
  for (int32_t i = 0; i < grid.width; i++)
    for (int32_t c = 0; c < kCodesMax; c++) {
      const float miss = scale * levels.at[c] - x[i];
      costs[i][c] = weights[i] * miss * miss;
    }
  const Run run = grid.runs[static_cast<size_t>(-1 - place)];
  const int32_t found = grid.width == 8   ? least_of<8, 2>(grid, run, costs)
                        : grid.bits == 2 ? least_of<4, 2>(grid, run, costs)
                                         : least_of<4, 3>(grid, run, costs);
  return grid.near_keys[static_cast<size_t>(found)];
}

struct Fit {
  float match = 0, norm = 0;
};

struct FitLanes {
  F match{}, norm{};
};

/* The nearest codes of a vector under LANES scales, as keys. */
inline I nearest_keys(const CodeGrid& grid, const float* x, F inverse) {
  const auto top = static_cast<float>(grid.levels - 1);
  I keys{};
  for (int32_t i = 0; i < grid.width; i++) {
    F wanted = 0.5f * (inverse * x[i] - 1.0f);
    wanted = choose(wanted < top, wanted, splat(top));
    wanted = choose(wanted > 0.0f, wanted, F{});
    wanted = wanted + 8388608.0f;   // 2^23: the code lies in the low bits then
    I bits;
    __builtin_memcpy(&bits, &wanted, sizeof bits);
    keys |= (bits & 7) << grid.bits * i;
  }
  return keys;
}

FitLanes fit(const CodeGrid& grid, const Levels& levels, const float* x, const float* weights, const I* keys, int32_t n) {
  FitLanes found;
  for (int32_t i = 0, k = 0; i < n; k++)
    for (int32_t j = 0; j < grid.width; j++, i++) {
      const F level = looked_up(levels.at, keys[k] >> grid.bits * j), w = splat(weights[i]);
      found.match += w * x[i] * level;
      found.norm += w * level * level;
    }
  return found;
}

/* One group: its scale, and the number of each vector. */
float search_group(const CodeGrid& grid, const GridRules& rules, const Levels& levels, const float* x,
                   const float* weights, float peak, uint16_t* numbers) {
  const int32_t n = rules.n, vectors = n / grid.width;
  const auto top = static_cast<float>(2 * grid.levels - 1);
  float roots[kGroupMax];
  for (int32_t i = 0; i < n; i++) roots[i] = std::sqrt(weights[i]);
  int32_t keys[kVectorsMax] = {};
  bool kept[kVectorsMax];
  std::fill(std::begin(kept), std::end(kept), rules.again != 1);
  float scale = peak / top, best = 0;
  for (int32_t first = -rules.tries; first <= rules.tries; first += LANES) {
    const int32_t turns = std::min(LANES, rules.tries + 1 - first);
    F inverse;
    for (int32_t l = 0; l < LANES; l++) inverse[l] = (top + static_cast<float>(first + l) * rules.step) / peak;
    I tried[kVectorsMax];
    bool on_grid[kVectorsMax][LANES];
    for (int32_t k = 0; k < vectors; k++) {
      const int32_t at = k * grid.width;
      tried[k] = nearest_keys(grid, x + at, inverse);
      for (int32_t l = 0; l < turns; l++) {
        const int32_t key = tried[k][l];
        on_grid[k][l] = grid.places[static_cast<size_t>(key)] >= 0;
        if (!on_grid[k][l]) tried[k][l] = settled(grid, levels, x + at, roots + at, 1 / inverse[l], key);
      }
    }
    const FitLanes found = fit(grid, levels, x, weights, tried, n);
    for (int32_t l = 0; l < turns; l++) {
      const float match = found.match[l], norm = found.norm[l];
      if (!(norm > 0 && match * match > best * norm)) continue;
      scale = match / norm;
      best = scale * match;
      for (int32_t k = 0; k < vectors; k++) keys[k] = tried[k][l], kept[k] = on_grid[k][l];
    }
  }
  const bool any_off = std::find(kept, kept + vectors, false) != kept + vectors;
  if (scale > 0 && (any_off || rules.again == 2)) {
    I anew[kVectorsMax];
    for (int32_t k = 0; k < vectors; k++) {
      const int32_t at = k * grid.width;
      if (rules.again != 0 || !kept[k])
        keys[k] = settled(grid, levels, x + at, roots + at, scale, nearest_keys(grid, x + at, splat(1 / scale))[0]);
      anew[k] = I{} + keys[k];
    }
    const FitLanes found = fit(grid, levels, x, weights, anew, n);
    if (found.norm[0] > 0) scale = found.match[0] / found.norm[0];
  }
  for (int32_t k = 0; k < vectors; k++) {
    const int32_t at = k * grid.width;
    numbers[k] = static_cast<uint16_t>(
        grid.places[static_cast<size_t>(settled(grid, levels, x + at, roots + at, scale, keys[k]))]);
  }
  return scale;
}

void on_grid(const CodeGrid& grid, const float* x, const float* weights, const float* peaks, int64_t groups,
             GridRules rules, float* scales, uint16_t* numbers) {
  float odd[kCodesMax];
  for (int32_t i = 0; i < kCodesMax; i++) odd[i] = static_cast<float>(2 * i + 1);
  const Levels levels(odd, grid.bits);
  const int32_t n = rules.n, vectors = n / grid.width;
  for (int64_t g = 0; g < groups; g++) {
    uint16_t* mine = numbers + g * vectors;
    std::fill(mine, mine + vectors, uint16_t{0});
    scales[g] = peaks[g] > 0 ? search_group(grid, rules, levels, x + g * n, weights + g * n, peaks[g], mine) : 0;
  }
}

/* ---- three levels ---- */

/* The first lane whose mask is set, or LANES. */
inline int32_t first_of(I mask) {
#if defined(__AVX__)
  return std::countr_zero(static_cast<uint32_t>(_mm256_movemask_ps((__m256)mask)) | 1u << LANES);
#else
  int32_t l = 0;
  while (l < LANES && mask[l] == 0) l++;
  return l;
#endif
}

inline F lanes_at(const float* from) {
  F found;
  __builtin_memcpy(&found, from, sizeof found);
  return found;
}

/* Sums over the smallest weights of a group, and where these lie. */
struct Sorted {
  int32_t order[kGroupMax] = {};
  float x[2][kGroupMax + 1 + kNearLanes] = {}, w[2][kGroupMax + 1 + kNearLanes] = {};   // of each half, or of all first

  Sorted(const float* values, const float* weights, int32_t n, bool halves) {
    float padded[kGroupMax + kNearLanes] = {};
    std::copy(values, values + n, padded);
    for (int32_t i = 0; i < n; i++) {   // equals stay in their order
      I behind{};
      for (int32_t j = 0; j < n; j += LANES) {
        const F other = lanes_at(padded + j);
        const I before = j + kIota < i;
        behind -= ((other < padded[i]) | ((other == padded[i]) & before)) & (j + kIota < n);
      }
      int32_t place = 0;
      for (int32_t l = 0; l < LANES; l++) place += behind[l];
      order[place] = i;
    }
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

/* Offers what `fits` says of the ways to cut a group at i and j: [how][lane], `Fits` of LANES places j at once, one
   behind the other where they are better. */
template <int32_t ways, class Fits>
void offer_all(Split& best, int32_t n, int32_t shift, Fits fits) {
  for (int32_t i = 0; i <= n; i++)
    for (int32_t j = i; j <= n; j += LANES) {
      FitLanes found[ways];
      fits(i, j, found);
      for (I open = j + kIota <= n;;) {   // a place that is better sets what those behind it are compared with
        I better{};
        for (const FitLanes& one : found) better |= (one.norm > 0.0f) & (one.match * one.match > best.score * one.norm);
        const int32_t l = first_of(better & open);
        if (l == LANES) break;
        for (int32_t how = 0; how < ways; how++)
          best.offer({found[how].match[l], found[how].norm[l]}, i, j + l, how * shift);
        open &= kIota > l;
      }
    }
}

/* Where the group is best cut into those that become -1, 0 and 1, with one shift for all. */
Split one_shift(const Sorted& sums, int32_t n) {
  Split best;
  const float *x = sums.x[0], *w = sums.w[0];
  offer_all<2>(best, n, 3, [&](int32_t i, int32_t j, FitLanes* found) {
    const F xj = lanes_at(x + j), wj = lanes_at(w + j);
    for (int32_t how = 0; how < 2; how++) {
      const float* level = kLevels[how];
      found[how] = {(x[i] - x[0]) * level[0] + (xj - x[i]) * level[1] + (x[n] - xj) * level[2],
                    (w[i] - w[0]) * level[0] * level[0] + (wj - w[i]) * level[1] * level[1] +
                        (w[n] - wj) * level[2] * level[2]};
    }
  });
  return best;
}

/* The same with a shift for each half. */
Split two_shifts(const Sorted& sums, int32_t n) {
  Split best;
  offer_all<4>(best, n, 1, [&](int32_t i, int32_t j, FitLanes* found) {
    FitLanes part[2][2];   // [shift][half]
    for (int32_t how = 0; how < 2; how++)
      for (int32_t half = 0; half < 2; half++) {
        const float *x = sums.x[half], *w = sums.w[half], *level = kLevels[how];
        part[how][half] = {x[n] * level[2] - (x[i] + lanes_at(x + j)),
                           w[n] * level[2] * level[2] + w[i] * (level[0] * level[0] - level[1] * level[1]) +
                               lanes_at(w + j) * (level[1] * level[1] - level[2] * level[2])};
      }
    for (int32_t how = 0; how < 4; how++) {
      const FitLanes &one = part[how / 2][0], &other = part[how % 2][1];
      found[how] = {one.match + other.match, one.norm + other.norm};
    }
  });
  return best;
}

float search_ternary(const CodeGrid& grid, const Levels* shifted, int32_t n, bool halves, const float* x, const float* weights, uint16_t* numbers,
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
    const int32_t at = k * grid.width, key = grid.key(codes + at);
    const int32_t found = settled(grid, shifted[halves && k > 0 ? best.shifts % 2 : best.shifts / 2], x + at,
                                  weights + at, best.scale, key);
    numbers[k] = static_cast<uint16_t>(grid.places[static_cast<size_t>(found)]);
    if (found != key) std::memcpy(codes + at, grid.at(numbers[k]), static_cast<size_t>(grid.width));
    all_kept = all_kept && found == key;
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

void ternary(const CodeGrid& grid, const float* x, const float* weights, int64_t groups, int32_t n, bool halves,
             float tiny, float* scales, uint16_t* numbers, uint8_t* shifts) {
  const float up[4] = {kLevels[0][0], kLevels[0][1], kLevels[0][2]}, down[4] = {kLevels[1][0], kLevels[1][1], kLevels[1][2]};
  const Levels shifted[2] = {Levels(up, 2), Levels(down, 2)};
  const int32_t parts = halves ? 2 : 1, vectors = n / grid.width;
  for (int64_t g = 0; g < groups; g++) {
    uint16_t* mine = numbers + g * vectors;
    uint8_t* my_shifts = shifts + g * parts;
    std::fill(mine, mine + vectors, uint16_t{0});
    std::fill(my_shifts, my_shifts + parts, uint8_t{0});
    float peak = 0;
    for (int32_t i = 0; i < n; i++) peak = std::max(peak, std::fabs(x[g * n + i]));
    scales[g] = peak < tiny ? 0 : search_ternary(grid, shifted, n, halves, x + g * n, weights + g * n, mine, my_shifts);
  }
}

}  // namespace
