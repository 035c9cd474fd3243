/* attention.hpp: causal attention over paged keys and values, written once for all instruction sets.

   What binds: a query's score with a key is one chain of fma over e = 0, 1, ...; a result lane within a chunk of 256 keys
   is one chain over the visible keys in order of position; sums of exponentials are sixteen lanes (position % 16) and one
   tree; chunks merge in order. Tiles only choose which of these chains run at the same time, so a query gives the same
   bits alone or in a block, in a long step or token by token, on every instruction set and number of threads.

   Storage is a template parameter: float or uint16_t (f16). Shapes and layouts: row_kernels.hpp. */
#pragma once
#include "backends/cpu/lanes.hpp"
#include "backends/cpu/row_kernels.hpp"

namespace pacos {
namespace PACOS_ISA {

/* Accumulators that fit the registers beside operands. */
#if defined(PACOS_LANES_AVX512)
constexpr int kTile = 8;
#else
constexpr int kTile = 4;
#endif

PACOS_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
PACOS_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
PACOS_INLINE int64_t wide(int64_t F) { return (F + kLanes - 1) / kLanes * kLanes; }

/* ---- who sees what ---- */

struct Range { int64_t begin, end; };   // positions of keys

PACOS_INLINE Range visible(const AttentionArgs& args, const QueryBlock& block, int64_t query) {
  const int64_t own = block.positions[query / (args.heads / args.key_heads)];
  return {args.window > 0 ? larger(0, own + 1 - args.window) : 0, own + 1};
}

/* Positions rise within a sequence, so the first and the last query span all ranges. */
static Range block_range(const AttentionArgs& args, const QueryBlock& block) {
  return {visible(args, block, block.query_begin).begin, visible(args, block, block.query_end - 1).end};
}

static void block_chunks(const AttentionArgs& args, const QueryBlock& block, int64_t* begin, int64_t* end) {
  const Range range = block_range(args, block);
  *begin = range.begin / kChunkKeys;
  *end = (range.end + kChunkKeys - 1) / kChunkKeys;
}

PACOS_INLINE const float* query_row(const AttentionArgs& args, const QueryBlock& block, int64_t query) {
  const int64_t group = args.heads / args.key_heads;
  return args.q + (block.first_row + query / group) * args.q_stride +
         (block.key_head * group + query % group) * args.key_width;
}

template <class T>
PACOS_INLINE const T* page_keys(const AttentionArgs& args, const QueryBlock& block, int64_t page) {
  return reinterpret_cast<const T*>(args.keys + block.pages[page] * args.key_page_bytes) +
         int64_t{block.key_head} * args.page_tokens * args.key_width;
}

template <class T>
PACOS_INLINE const T* page_values(const AttentionArgs& args, const QueryBlock& block, int64_t page) {
  return reinterpret_cast<const T*>(args.values + block.pages[page] * args.value_page_bytes) +
         int64_t{block.key_head} * args.page_tokens * args.value_width;
}

/* ---- append ---- */

PACOS_INLINE void put(float* p, f32x16 x, int64_t n) { store_part(p, x, n); }
PACOS_INLINE void put(uint16_t* p, f32x16 x, int64_t n) {
  uint16_t lanes[kLanes];
  store(lanes, x);
  std::memcpy(p, lanes, static_cast<size_t>(n) * 2);
}

template <class T>
static void append_keys(const float* k, T* page, int64_t slot, int64_t E) {
  T* out = page + slot / kLanes * E * kLanes + slot % kLanes;   // [E][16 keys]
  for (int64_t e = 0; e < E; e += kLanes) {
    const int64_t n = smaller(kLanes, E - e);
    T lanes[kLanes];
    store(lanes, load_part(k + e, n));
    for (int64_t i = 0; i < n; i++) out[(e + i) * kLanes] = lanes[i];
  }
}

template <class T>
static void append_values(const float* v, T* page, int64_t slot, int64_t F, int64_t page_tokens) {
  for (int64_t f = 0; f < F; f += kLanes) {
    const int64_t n = smaller(kLanes, F - f);
    put(page + f * page_tokens + slot * n, load_part(v + f, n), n);
  }
}

static void append_rows(const AttentionArgs& args, const QueryBlock& block, int64_t rows) {
  const int64_t E = args.key_width, F = args.value_width;
  for (int64_t row = 0; row < rows; row++) {
    const int64_t page = block.positions[row] / args.page_tokens, slot = block.positions[row] % args.page_tokens;
    const float* k = args.k + (block.first_row + row) * args.k_stride + block.key_head * E;
    const float* v = args.v + (block.first_row + row) * args.v_stride + block.key_head * F;
    if (args.key_type == STORE_F16) {
      append_keys(k, const_cast<uint16_t*>(page_keys<uint16_t>(args, block, page)), slot, E);
    } else {
      append_keys(k, const_cast<float*>(page_keys<float>(args, block, page)), slot, E);
    }
    if (args.value_type == STORE_F16) {
      append_values(v, const_cast<uint16_t*>(page_values<uint16_t>(args, block, page)), slot, F, args.page_tokens);
    } else {
      append_values(v, const_cast<float*>(page_values<float>(args, block, page)), slot, F, args.page_tokens);
    }
  }
}

/* ---- tiles ---- */

/* scores[r][16 g + lane] = q[r] . key; K is [groups][E][16]. */
template <int ROWS, int GROUPS, class T>
PACOS_INLINE void score_tile(const float* const* q, const T* K, int64_t E, float* scores) {
  f32x16 acc[ROWS][GROUPS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int g = 0; g < GROUPS; g++) acc[r][g] = splat(0.0f);
  for (int64_t e = 0; e < E; e++) {
    f32x16 x[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) x[r] = splat(q[r][e]);
#pragma GCC unroll 8
    for (int g = 0; g < GROUPS; g++) {
      const f32x16 key = load(K + (g * E + e) * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++) acc[r][g] = fma(x[r], key, acc[r][g]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int g = 0; g < GROUPS; g++) store(scores + r * kChunkKeys + g * kLanes, acc[r][g]);
}

template <int ROWS, int GROUPS, class T>
static void score_groups(const float* const* q, const T* K, int64_t E, int64_t groups, float* scores) {
  int64_t g = 0;
  for (; g + GROUPS <= groups; g += GROUPS) score_tile<ROWS, GROUPS>(q, K + g * E * kLanes, E, scores + g * kLanes);
  if constexpr (GROUPS > 1) {
    for (; g < groups; g++) score_tile<ROWS, 1>(q, K + g * E * kLanes, E, scores + g * kLanes);
  }
}

/* out[r][16 b + lane] += sum over keys [begin, end) of p[r][key] * value; blocks of V are block_floats apart, the values
   of consecutive keys key_floats. p rows are kChunkKeys apart, p[key] counts from the page's first key. */
template <int ROWS, int BLOCKS, class T>
PACOS_INLINE void mix_tile(const float* p, const T* V, int64_t block_floats, int64_t key_floats, Range keys, float* out,
                           int64_t out_stride) {
  f32x16 acc[ROWS][BLOCKS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int b = 0; b < BLOCKS; b++) acc[r][b] = load(out + r * out_stride + b * kLanes);
  for (int64_t key = keys.begin; key < keys.end; key++) {
    f32x16 weight[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) weight[r] = splat(p[r * kChunkKeys + key]);
#pragma GCC unroll 8
    for (int b = 0; b < BLOCKS; b++) {
      const f32x16 value = load(V + b * block_floats + key * key_floats);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++) acc[r][b] = fma(weight[r], value, acc[r][b]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int b = 0; b < BLOCKS; b++) store(out + r * out_stride + b * kLanes, acc[r][b]);
}

/* V: [F / 16][page_tokens][16], then [page_tokens][F % 16], whose loads run into the next key: those lanes are dropped. */
template <int ROWS, int BLOCKS, class T>
static void mix_blocks(const float* p, const T* V, int64_t page_tokens, int64_t F, Range keys, float* out) {
  if (keys.begin >= keys.end) return;
  const int64_t stride = softmax_state_floats(F), block_floats = page_tokens * kLanes;
  int64_t f = 0;
  for (; f + BLOCKS * kLanes <= F; f += BLOCKS * kLanes)
    mix_tile<ROWS, BLOCKS>(p, V + f * page_tokens, block_floats, kLanes, keys, out + f, stride);
  if constexpr (BLOCKS > 1) {
    for (; f + kLanes <= F; f += kLanes)
      mix_tile<ROWS, 1>(p, V + f * page_tokens, block_floats, kLanes, keys, out + f, stride);
  }
  if (f < F) mix_tile<ROWS, 1>(p, V + f * page_tokens, block_floats, F - f, keys, out + f, stride);
}

/* ---- one page, all queries of the block ---- */

PACOS_INLINE int64_t tile_rows(int64_t left) { return left >= kTile ? kTile : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

template <class T>
static void score_page(const AttentionArgs& args, const QueryBlock& block, const T* K, Range page, float* scores) {
  const int64_t E = args.key_width;
  int64_t rows = 0;
  for (int64_t query = block.query_begin; query < block.query_end; query += rows) {
    rows = tile_rows(block.query_end - query);
    const int64_t begin = larger(page.begin, visible(args, block, query).begin);
    const int64_t end = smaller(page.end, visible(args, block, query + rows - 1).end);
    if (begin >= end) continue;
    const float* q[kTile];
    for (int64_t r = 0; r < rows; r++) q[r] = query_row(args, block, query + r);
    const int64_t first = (begin - page.begin) / kLanes, groups = (end - page.begin + kLanes - 1) / kLanes - first;
    const T* from = K + first * E * kLanes;
    float* out = scores + (query - block.query_begin) * kChunkKeys + first * kLanes;
    if (rows == kTile) score_groups<kTile, 1>(q, from, E, groups, out);
    else if (rows == 4) score_groups<4, kTile / 4>(q, from, E, groups, out);
    else if (rows == 2) score_groups<2, kTile / 2>(q, from, E, groups, out);
    else score_groups<1, 4>(q, from, E, groups, out);
  }
}

/* Keys that all queries of a tile see go through the tile; the others, at its edges, query by query. */
template <class T>
static void mix_page(const AttentionArgs& args, const QueryBlock& block, const T* V, Range page, const float* scores,
                     float* states) {
  const int64_t F = args.value_width, size = softmax_state_floats(F), tokens = args.page_tokens;
  int64_t rows = 0;
  for (int64_t query = block.query_begin; query < block.query_end; query += rows) {
    rows = tile_rows(block.query_end - query);
    const float* p = scores + (query - block.query_begin) * kChunkKeys;
    float* out = states + (query - block.query_begin) * size + kLanes;
    auto seen = [&](int64_t row) {
      const Range own = visible(args, block, query + row);
      return Range{larger(own.begin, page.begin) - page.begin, smaller(own.end, page.end) - page.begin};
    };
    const Range shared = {seen(rows - 1).begin, seen(0).end};
    if (rows == 1 || shared.begin >= shared.end) {
      for (int64_t r = 0; r < rows; r++) mix_blocks<1, 4>(p + r * kChunkKeys, V, tokens, F, seen(r), out + r * size);
      continue;
    }
    for (int64_t r = 0; r < rows; r++)
      mix_blocks<1, 4>(p + r * kChunkKeys, V, tokens, F, {seen(r).begin, shared.begin}, out + r * size);
    if (rows == kTile) mix_blocks<kTile, 1>(p, V, tokens, F, shared, out);
    else if (rows == 4) mix_blocks<4, kTile / 4>(p, V, tokens, F, shared, out);
    else mix_blocks<2, kTile / 2>(p, V, tokens, F, shared, out);
    for (int64_t r = 0; r < rows; r++)
      mix_blocks<1, 4>(p + r * kChunkKeys, V, tokens, F, {shared.end, seen(r).end}, out + r * size);
  }
}

static const float* widen(const uint16_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, load(from + i));
  return to;
}

/* A page converted once pays from this many queries on. */
constexpr int64_t kWidenQueries = 3 * kTile;

/* ---- one chunk ---- */

/* Turn a query's scores of a chunk into exponentials; gives their largest score and their sum. keys count from the
   chunk's first. */
static void soften(const AttentionArgs& args, Range keys, float* scores, float* state) {
  const int64_t first = keys.begin / kLanes * kLanes, last = (keys.end + kLanes - 1) / kLanes * kLanes;
  const float nothing = -__builtin_inff();
  const f32x16 factor = splat(args.scale), cap = splat(args.softcap);
  for (int64_t i = first; i < last; i += kLanes) {
    f32x16 s = load(scores + i) * factor;
    if (args.softcap > 0.0f) s = cap * tanh(s / cap);
    store(scores + i, s);
  }
  for (int64_t i = first; i < keys.begin; i++) scores[i] = nothing;
  for (int64_t i = keys.end; i < last; i++) scores[i] = nothing;
  f32x16 high = splat(nothing);
  for (int64_t i = first; i < last; i += kLanes) high = max(high, load(scores + i));
  state[0] = largest(high);
  const f32x16 top = splat(state[0]);
  f32x16 total = splat(0.0f);
  for (int64_t i = first; i < last; i += kLanes) {
    const f32x16 p = exp(load(scores + i) - top);
    store(scores + i, p);
    total = total + p;
  }
  state[1] = sum(total);
}

static void attend_chunk(const AttentionArgs& args, const QueryBlock& block, int64_t chunk, float* states, void* scratch) {
  const int64_t queries = block.query_end - block.query_begin, tokens = args.page_tokens;
  const int64_t E = args.key_width, F = args.value_width, size = softmax_state_floats(F);
  float* scores = static_cast<float*>(scratch);                // [queries, kChunkKeys]
  float* widened = scores + kBlockQueries * kChunkKeys;
  const int64_t start = chunk * kChunkKeys;
  const Range all = block_range(args, block);
  const Range keys = {larger(all.begin, start), smaller(all.end, start + kChunkKeys)};
  const bool widens = queries >= kWidenQueries;
  for (int64_t page = keys.begin / tokens; page * tokens < keys.end; page++) {
    const Range range = {page * tokens, (page + 1) * tokens};
    float* out = scores + range.begin - start;
    if (args.key_type == STORE_F32) score_page(args, block, page_keys<float>(args, block, page), range, out);
    else if (widens) score_page(args, block, widen(page_keys<uint16_t>(args, block, page), tokens * E, widened), range, out);
    else score_page(args, block, page_keys<uint16_t>(args, block, page), range, out);
  }
  for (int64_t i = 0; i < queries; i++) {
    float* state = states + i * size;
    std::memset(state, 0, static_cast<size_t>(size) * 4);
    const Range own = visible(args, block, block.query_begin + i);
    const Range seen = {larger(own.begin, start) - start, smaller(own.end, start + kChunkKeys) - start};
    if (seen.begin < seen.end) soften(args, seen, scores + i * kChunkKeys, state);
  }
  for (int64_t page = keys.begin / tokens; page * tokens < keys.end; page++) {
    const Range range = {page * tokens, (page + 1) * tokens};
    const float* p = scores + range.begin - start;
    if (args.value_type == STORE_F32) mix_page(args, block, page_values<float>(args, block, page), range, p, states);
    else if (widens) mix_page(args, block, widen(page_values<uint16_t>(args, block, page), tokens * F, widened), range, p, states);
    else mix_page(args, block, page_values<uint16_t>(args, block, page), range, p, states);
  }
}

/* ---- merge and finish ---- */

PACOS_INLINE float exp_one(float x) {
  float lanes[kLanes];
  store(lanes, exp(splat(x)));
  return lanes[0];
}

static void merge_states(float* states, const float* next, int64_t queries, int64_t value_width) {
  const int64_t size = softmax_state_floats(value_width);
  for (int64_t i = 0; i < queries; i++, states += size, next += size) {
    if (next[1] == 0.0f) continue;
    if (states[1] == 0.0f) {
      std::memcpy(states, next, static_cast<size_t>(size) * 4);
      continue;
    }
    const float top = states[0] > next[0] ? states[0] : next[0];
    const float a = exp_one(states[0] - top), b = exp_one(next[0] - top);
    states[0] = top;
    states[1] = __builtin_fmaf(next[1], b, states[1] * a);
    const f32x16 keep = splat(a), join = splat(b);
    for (int64_t f = kLanes; f < size; f += kLanes) store(states + f, fma(load(next + f), join, load(states + f) * keep));
  }
}

static void finish_block(const AttentionArgs& args, const QueryBlock& block, const float* states) {
  const int64_t group = args.heads / args.key_heads, F = args.value_width, size = softmax_state_floats(F);
  for (int64_t query = block.query_begin; query < block.query_end; query++, states += size) {
    float* y = args.y + (block.first_row + query / group) * args.y_stride + (block.key_head * group + query % group) * F;
    const f32x16 total = splat(states[1]);
    for (int64_t f = 0; f < F; f += kLanes) {
      const f32x16 x = load(states + kLanes + f) / total;
      if (F - f >= kLanes) store(y + f, x);
      else store_part(y + f, x, F - f);
    }
  }
}

}  // namespace PACOS_ISA
}  // namespace pacos
