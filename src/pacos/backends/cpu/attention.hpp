/* attention.hpp: causal or bidirectional attention over paged keys and values, written once for all instruction sets.

   What binds: a query is scaled once; its score with a key is one chain of fma over e = 0, 1, ...; a result lane within a
   chunk of 256 keys is one chain over the visible keys in order of position; sums of exponentials are sixteen lanes
   (position % 16) and one tree; chunks merge in order. Tiles only choose which of these chains run at the same time, so a
   query gives the same bits alone or in a block, in a long step or token by token, on every instruction set and number of
   threads. Scores are logarithms to base 2.

   How keys and values are stored is a template parameter (stored.hpp); a few queries read them where they are, fetching
   the next page ahead; many share one page widened to floats. Shapes and layouts: row_kernels.hpp. */
#pragma once
#include "backends/cpu/stored.hpp"

namespace pacos {
namespace PACOS_ISA {

/* Rows and sixteens of a full tile: accumulators that fit the registers beside operands, and hide the latency of fma. */
#if defined(PACOS_LANES_AVX512)
constexpr int kTile = 8, kTileWide = 2;
#elif defined(PACOS_LANES_AVX2)
constexpr int kTile = 6, kTileWide = 1;
#else
constexpr int kTile = 4, kTileWide = 1;
#endif
static_assert(kBlockQueries % kTile == 0);

/* The most rows of a tile that reads pages where they are: codes need registers for scales. */
template <class Stored>
constexpr int kRows = Stored::coded ? 4 : kTile;
template <class Stored>
constexpr int kFew = Stored::coded ? 2 : 4;   // sixteens of a tile of one row

/* A page widened once pays from this many queries on: conversions of halves are nearly free beside a tile's fma. */
template <class Stored>
constexpr int64_t kWidenQueries = Stored::coded ? kRows<Stored> + 1 : 2 * kTile + 1;
template <>
constexpr int64_t kWidenQueries<Plain<float>> = kBlockQueries + 1;

/* ---- who sees what ---- */

PACOS_INLINE Range visible(const AttentionArgs& args, const QueryBlock& block, int64_t query) {
  if (args.source_alone) return {0, block.source};
  const int64_t own = block.positions[query / (args.heads / args.key_heads)];
  if (args.bidirectional) {
    const int64_t end = int64_t{block.last_position} + 1, reach = args.window > 0 ? args.window / 2 : end;
    return {larger(0, own - reach), smaller(end, own + reach + 1)};
  }
  const int64_t least = args.after_source ? block.source : 0;
  if (args.chunk > 0) return {larger(least, own - own % args.chunk), own + 1};
  return {args.window > 0 ? larger(least, own + 1 - args.window) : least, own + 1};
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

PACOS_INLINE Range within(Range range, int64_t begin, int64_t size) {   // counted from begin, cut to [0, size)
  return {smaller(larger(range.begin - begin, 0), size), smaller(larger(range.end - begin, 0), size)};
}

PACOS_INLINE int64_t stored_bytes(int32_t type, int64_t numbers) {
  int64_t bytes = 0;
  with_stored(type, [&](auto stored) { bytes = decltype(stored)::bytes(numbers); });
  return bytes;
}

/* Where a head's keys or values of a page begin. */
struct Heads {
  uint8_t* first;
  int64_t page_bytes;
  const int32_t* pages;
  PACOS_METHOD uint8_t* at(int64_t page) const { return first + pages[page] * page_bytes; }
};
PACOS_INLINE Heads key_heads(const AttentionArgs& args, const QueryBlock& block) {
  const int64_t bytes = stored_bytes(args.key_type, int64_t{args.page_tokens} * args.key_width);
  return {args.keys + block.key_head * bytes, args.key_page_bytes, block.pages};
}
PACOS_INLINE Heads value_heads(const AttentionArgs& args, const QueryBlock& block) {
  const int64_t bytes = stored_bytes(args.value_type, int64_t{args.page_tokens} * args.value_width);
  return {args.values + block.key_head * bytes, args.value_page_bytes, block.pages};
}

/* ---- append ---- */

static void append_rows(const AttentionArgs& args, const QueryBlock& block, int64_t rows) {
  const int64_t E = args.key_width, F = args.value_width, tokens = args.page_tokens;
  const Heads keys = key_heads(args, block), values = value_heads(args, block);
  with_stored(args.key_type, [&](auto stored) {
    for (int64_t row = 0; row < rows; row++) {
      const float* k = args.k + (block.first_row + row) * args.k_stride + block.key_head * E;
      append_key(stored, k, keys.at(block.positions[row] / tokens), block.positions[row] % tokens, E);
    }
  });
  with_stored(args.value_type, [&](auto stored) {
    for (int64_t row = 0; row < rows; row++) {
      const float* v = args.v + (block.first_row + row) * args.v_stride + block.key_head * F;
      append_value(stored, v, values.at(block.positions[row] / tokens), block.positions[row] % tokens, F, tokens);
    }
  });
}

/* ---- tiles ---- */

/* acc[r][c] += left(r) * right(c). The fewer operands are held, the others come one by one: else registers run out. */
template <int ROWS, int COLUMNS, class Left, class Right>
PACOS_INLINE void multiply_add(Left left, Right right, f32x16 (&acc)[ROWS][COLUMNS]) {
  constexpr int kHeld = ROWS < COLUMNS ? ROWS : COLUMNS;
  f32x16 held[kHeld];
#pragma GCC unroll 8
  for (int i = 0; i < kHeld; i++) held[i] = ROWS < COLUMNS ? left(i) : right(i);
  if constexpr (ROWS < COLUMNS) {
#pragma GCC unroll 8
    for (int c = 0; c < COLUMNS; c++) {
      const f32x16 y = right(c);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++) acc[r][c] = fma(held[r], y, acc[r][c]);
    }
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
      const f32x16 x = left(r);
#pragma GCC unroll 8
      for (int c = 0; c < COLUMNS; c++) acc[r][c] = fma(x, held[c], acc[r][c]);
    }
  }
}

/* Fetch stored numbers [first, first + count) of what is read next, also their scales, which lie among them. */
template <class Stored>
PACOS_INLINE void fetch(const uint8_t* from, int64_t first, int64_t count) {
  from += Stored::bytes(first);
  for (int64_t i = 0; i < Stored::bytes(count); i += 64) __builtin_prefetch(from + i);
}

/* scores[r][16 g + lane] = q[r] . key for the groups of 16 keys from `group` on; rows of q are E floats. */
template <int ROWS, int GROUPS, class Stored>
PACOS_INLINE void score_tile(const float* q, const uint8_t* head, int64_t E, int64_t group, int64_t ahead, float* scores) {
  f32x16 acc[ROWS][GROUPS];
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int g = 0; g < GROUPS; g++) acc[r][g] = splat(0.0f);
  const int64_t part = Stored::coded || ahead != 0 ? kLanes : E;
  for (int64_t e = 0; e < E; e += part) {
    typename Stored::KeySteps keys[GROUPS];
    const float* x = q + e;
    const int64_t n = smaller(part, E - e);
#pragma GCC unroll 8
    for (int g = 0; g < GROUPS; g++) {
      keys[g] = Stored::key_steps(head, E, group + g, e);
      if (ahead != 0) fetch<Stored>(head + ahead, ((group + g) * E + e) * kLanes, n * kLanes);
    }
    for (int64_t i = 0; i < n; i++) {
      multiply_add<ROWS, GROUPS>([&](int r) { return splat(x[r * E + i]); }, [&](int g) { return keys[g].at(i); }, acc);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int g = 0; g < GROUPS; g++) store(scores + r * kChunkKeys + g * kLanes, acc[r][g]);
}

template <int ROWS, int GROUPS, class Stored>
static void score_groups(const float* q, const uint8_t* head, int64_t E, Range groups, int64_t ahead, float* scores) {
  int64_t g = groups.begin;
  for (; g + GROUPS <= groups.end; g += GROUPS) score_tile<ROWS, GROUPS, Stored>(q, head, E, g, ahead, scores + g * kLanes);
  if constexpr (GROUPS > 1) {
    for (; g < groups.end; g++) score_tile<ROWS, 1, Stored>(q, head, E, g, ahead, scores + g * kLanes);
  }
}

/* out[r][16 b + lane] += sum over keys of the page of p[r][key] * value, for the features from f on. */
template <int ROWS, int BLOCKS, class Stored>
PACOS_INLINE void mix_tile(const float* p, const uint8_t* head, int64_t page_tokens, int64_t F, int64_t f, Range keys,
                           int64_t ahead, float* out) {
  const int64_t stride = softmax_state_floats(F);
  typename Stored::ValueSteps values[BLOCKS];
  f32x16 acc[ROWS][BLOCKS];
#pragma GCC unroll 8
  for (int b = 0; b < BLOCKS; b++) Stored::value_steps(head, page_tokens, F, f + b * kLanes, keys, values[b]);
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int b = 0; b < BLOCKS; b++) acc[r][b] = load(out + r * stride + f + b * kLanes);
  const int64_t part = ahead != 0 ? kLanes : keys.end - keys.begin;
  for (int64_t begin = keys.begin; begin < keys.end; begin += part) {
    const int64_t end = smaller(begin + part, keys.end);
#pragma GCC unroll 8
    for (int b = 0; b < BLOCKS; b++) {
      const int64_t first = f + b * kLanes, wide = smaller(kLanes, F - first);
      if (ahead != 0) fetch<Stored>(head + ahead, first * page_tokens + begin * wide, kLanes * wide);
    }
    for (int64_t key = begin; key < end; key++) {
      multiply_add<ROWS, BLOCKS>([&](int r) { return splat(p[r * kChunkKeys + key]); },
                                 [&](int b) { return values[b].at(key); }, acc);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
    for (int b = 0; b < BLOCKS; b++) store(out + r * stride + f + b * kLanes, acc[r][b]);
}

template <int ROWS, int BLOCKS, class Stored>
static void mix_blocks(const float* p, const uint8_t* head, int64_t page_tokens, int64_t F, Range keys, int64_t ahead,
                       float* out) {
  if (keys.begin >= keys.end) return;
  int64_t f = 0;
  for (; f + BLOCKS * kLanes <= F; f += BLOCKS * kLanes)
    mix_tile<ROWS, BLOCKS, Stored>(p, head, page_tokens, F, f, keys, ahead, out);
  for (; f < F; f += kLanes) mix_tile<ROWS, 1, Stored>(p, head, page_tokens, F, f, keys, ahead, out);
}

/* ---- one page, all queries of the block ---- */

template <class Stored>
PACOS_INLINE int64_t tile_rows(int64_t left) {
  return left >= kRows<Stored> ? kRows<Stored> : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/* seen: the keys that each query sees, counted from the page's first; ahead: bytes from here to what is read next, or 0. */
template <class Stored>
static void score_page(const float* q, const Range* seen, int64_t queries, const uint8_t* head, int64_t E, int64_t start,
                       int64_t page_tokens, int64_t ahead, float* scores) {
  int64_t rows = 0;
  for (int64_t query = 0; query < queries; query += rows) {
    rows = tile_rows<Stored>(queries - query);
    const Range keys = {within(seen[query], start, page_tokens).begin, within(seen[query + rows - 1], start, page_tokens).end};
    if (keys.begin >= keys.end) continue;
    const Range groups = {keys.begin / kLanes, (keys.end + kLanes - 1) / kLanes};
    const float* x = q + query * E;
    float* out = scores + query * kChunkKeys;
    if (rows == kRows<Stored>) score_groups<kRows<Stored>, kTileWide, Stored>(x, head, E, groups, ahead, out);
    else if (rows == 4) score_groups<4, kTileWide, Stored>(x, head, E, groups, ahead, out);
    else if (rows == 2) score_groups<2, kFew<Stored> / 2, Stored>(x, head, E, groups, ahead, out);
    else score_groups<1, kFew<Stored>, Stored>(x, head, E, groups, ahead, out);
  }
}

/* Keys that all queries of a tile see go through the tile; the others, at its edges, query by query. */
template <class Stored>
static void mix_page(const float* p, const Range* seen, int64_t queries, const uint8_t* head, int64_t F, int64_t start,
                     int64_t page_tokens, int64_t ahead, float* states) {
  const int64_t size = softmax_state_floats(F);
  int64_t rows = 0;
  for (int64_t query = 0; query < queries; query += rows) {
    rows = tile_rows<Stored>(queries - query);
    const float* weights = p + query * kChunkKeys;
    float* out = states + query * size + kLanes;
    auto own = [&](int64_t row) { return within(seen[query + row], start, page_tokens); };
    auto alone = [&](int64_t row, Range keys) {
      mix_blocks<1, kFew<Stored>, Stored>(weights + row * kChunkKeys, head, page_tokens, F, keys, ahead, out + row * size);
    };
    const Range shared = {own(rows - 1).begin, own(0).end};
    if (rows == 1 || shared.begin >= shared.end) {
      for (int64_t r = 0; r < rows; r++) alone(r, own(r));
      continue;
    }
    for (int64_t r = 0; r < rows; r++) alone(r, {own(r).begin, shared.begin});
    if (rows == kRows<Stored>) mix_blocks<kRows<Stored>, kTileWide, Stored>(weights, head, page_tokens, F, shared, ahead, out);
    else if (rows == 4) mix_blocks<4, kTileWide, Stored>(weights, head, page_tokens, F, shared, ahead, out);
    else mix_blocks<2, kFew<Stored> / 2, Stored>(weights, head, page_tokens, F, shared, ahead, out);
    for (int64_t r = 0; r < rows; r++) alone(r, {shared.end, own(r).end});
  }
}

/* ---- one chunk ---- */

constexpr float kLog2e = 1.44269504088896341f;

/* The block's queries, scaled, one after another. */
static void scale_queries(const AttentionArgs& args, const QueryBlock& block, float* to) {
  const int64_t group = args.heads / args.key_heads, E = args.key_width;
  const float scale = args.softcap > 0.0f ? args.scale / args.softcap : args.scale * kLog2e;
  for (int64_t query = block.query_begin; query < block.query_end; query++, to += E) {
    const float* q = args.q + (block.first_row + query / group) * args.q_stride + (block.key_head * group + query % group) * E;
    int64_t e = 0;
    for (; e + kLanes <= E; e += kLanes) store(to + e, load(q + e) * splat(scale));
    for (; e < E; e++) to[e] = q[e] * scale;
  }
}

/* Lower scores by slope times the distance from `own`; places count from the chunk's first key. */
static void lower(float slope, int64_t own, int64_t first, int64_t last, float* scores) {
  float places[kLanes];
  for (int i = 0; i < kLanes; i++) places[i] = static_cast<float>(i);
  for (int64_t i = first; i < last; i += kLanes) {
    const f32x16 after = load(places) + splat(static_cast<float>(i - own));
    store(scores + i, fma(max(after, splat(0.0f) - after), splat(-slope), load(scores + i)));
  }
}

/* Add what a head's table [2 reach + 1] says of each distance; places count from the chunk's first key. */
static void add_biases(const float* table, int64_t reach, int64_t own, int64_t first, int64_t last, float* scores) {
  float clamped[kLanes];
  for (int64_t i = first; i < last; i += kLanes) {
    const int64_t place = reach + i - own;
    const float* from = table + place;
    if (place < 0 || place + kLanes > 2 * reach + 1) {
      for (int64_t lane = 0; lane < kLanes; lane++) clamped[lane] = table[smaller(larger(place + lane, 0), 2 * reach)];
      from = clamped;
    }
    store(scores + i, load(scores + i) + load(from));
  }
}

/* Turn a query's scores of a chunk into exponentials; gives their largest score and their sum. */
static void soften(float softcap, float slope, int64_t own, Range keys, float* scores, float* state) {
  const int64_t first = keys.begin / kLanes * kLanes, last = (keys.end + kLanes - 1) / kLanes * kLanes;
  const float nothing = -__builtin_inff();
  if (softcap > 0.0f)
    for (int64_t i = first; i < last; i += kLanes) store(scores + i, splat(softcap * kLog2e) * tanh(load(scores + i)));
  if (slope > 0.0f) lower(slope * kLog2e, own, first, last, scores);
  for (int64_t i = first; i < keys.begin; i++) scores[i] = nothing;
  for (int64_t i = keys.end; i < last; i++) scores[i] = nothing;
  f32x16 high = splat(nothing);
  for (int64_t i = first; i < last; i += kLanes) high = max(high, load(scores + i));
  state[0] = largest(high);
  const f32x16 top = splat(state[0]);
  f32x16 total = splat(0.0f);
  for (int64_t i = first; i < last; i += kLanes) {
    const f32x16 p = exp2_falling(load(scores + i) - top);
    store(scores + i, p);
    total = total + p;
  }
  state[1] = sum(total);
}

/* f(page, its head, bytes from there to what is read next, or 0) for the pages of a chunk; `after` is read behind the last. */
template <class F>
PACOS_INLINE void each_page(Range pages, const Heads& heads, const uint8_t* after, F f) {
  for (int64_t page = pages.begin; page < pages.end; page++) {
    const uint8_t *own = heads.at(page), *next = page + 1 < pages.end ? heads.at(page + 1) : after;
    f(page, own, next != nullptr ? next - own : 0);
  }
}

static void attend_chunk(const AttentionArgs& args, const QueryBlock& block, int64_t chunk, float* states, void* scratch) {
  const int64_t queries = block.query_end - block.query_begin, tokens = args.page_tokens;
  const int64_t E = args.key_width, F = args.value_width, size = softmax_state_floats(F), start = chunk * kChunkKeys;
  const int64_t group = args.heads / args.key_heads;
  float* scores = static_cast<float*>(scratch);                // [queries, kChunkKeys]
  float* widened = scores + kBlockQueries * kChunkKeys;
  float* q = widened + tokens * larger(E, size - kLanes);      // [queries, E]
  scale_queries(args, block, q);
  Range seen[kBlockQueries];
  for (int64_t i = 0; i < queries; i++) seen[i] = within(visible(args, block, block.query_begin + i), start, kChunkKeys);
  const int64_t end = block_range(args, block).end;
  const Range pages = {(start + seen[0].begin) / tokens, (smaller(end, start + kChunkKeys) + tokens - 1) / tokens};
  const Heads keys = key_heads(args, block), values = value_heads(args, block);
  with_stored(args.key_type, [&](auto stored) {
    using Stored = decltype(stored);
    each_page(pages, keys, values.at(pages.begin), [&](int64_t page, const uint8_t* own, int64_t ahead) {
      float* out = scores + page * tokens - start;
      if (queries >= kWidenQueries<Stored>) {
        widen_keys(stored, own, E, tokens, widened);
        score_page<Plain<float>>(q, seen, queries, reinterpret_cast<uint8_t*>(widened), E, page * tokens - start, tokens, 0, out);
      } else {
        score_page<Stored>(q, seen, queries, own, E, page * tokens - start, tokens, ahead, out);
      }
    });
  });
  for (int64_t i = 0; i < queries; i++) {
    float* state = states + i * size;
    std::memset(state, 0, static_cast<size_t>(size) * 4);
    if (seen[i].begin >= seen[i].end) continue;
    const int64_t query = block.query_begin + i, own = block.positions[query / group] - start;
    const int64_t head = block.key_head * group + query % group;
    const float slope = args.slopes != nullptr ? static_cast<float>(args.slopes[head]) : 0.0f;
    if (args.biases != nullptr) {
      const int64_t first = seen[i].begin / kLanes * kLanes, last = (seen[i].end + kLanes - 1) / kLanes * kLanes;
      add_biases(args.biases + head * (2 * args.reach + 1), args.reach, own, first, last, scores + i * kChunkKeys);
    }
    soften(args.softcap, slope, own, seen[i], scores + i * kChunkKeys, state);
  }
  with_stored(args.value_type, [&](auto stored) {
    using Stored = decltype(stored);
    each_page(pages, values, pages.end * tokens < end ? keys.at(pages.end) : nullptr, [&](int64_t page, const uint8_t* own, int64_t ahead) {
      const float* p = scores + page * tokens - start;
      if (queries >= kWidenQueries<Stored>) {
        widen_values(stored, own, F, tokens, widened);
        mix_page<Plain<float>>(p, seen, queries, reinterpret_cast<uint8_t*>(widened), F, page * tokens - start, tokens, 0, states);
      } else {
        mix_page<Stored>(p, seen, queries, own, F, page * tokens - start, tokens, ahead, states);
      }
    });
  });
}

/* ---- merge and finish ---- */

/* Sixteen queries at a time: their states differ by a power of two, which one exponential gives. */
static void merge_states(float* states, const float* next, int64_t queries, int64_t value_width) {
  const int64_t size = softmax_state_floats(value_width);
  for (int64_t first = 0; first < queries; first += kLanes) {
    const int64_t n = smaller(kLanes, queries - first);
    float fall[kLanes] = {};
    for (int64_t i = 0; i < n; i++) fall[i] = -__builtin_fabsf(states[i * size] - next[i * size]);
    store(fall, exp2_falling(load(fall)));
    for (int64_t i = 0; i < n; i++, states += size, next += size) {
      if (next[1] == 0.0f) continue;
      if (states[1] == 0.0f) {
        std::memcpy(states, next, static_cast<size_t>(size) * 4);
        continue;
      }
      const bool rises = next[0] > states[0];
      const float a = rises ? fall[i] : 1.0f, b = rises ? 1.0f : fall[i];
      states[0] = rises ? next[0] : states[0];
      states[1] = __builtin_fmaf(next[1], b, states[1] * a);
      const f32x16 keep = splat(a), join = splat(b);
      for (int64_t f = kLanes; f < size; f += kLanes) store(states + f, fma(load(next + f), join, load(states + f) * keep));
    }
  }
}

/* A head's sink joins the sum, which is relative to the largest score: what then remains of weights, and the sum. */
PACOS_INLINE void sink(float score, const float* state, f32x16* keep, f32x16* total) {
  const f32x16 lost = splat(score * kLog2e), seen = splat(state[0]), top = max(lost, seen);
  *keep = exp2_falling(seen - top);
  *total = fma(splat(state[1]), *keep, exp2_falling(lost - top));
}

static void finish_block(const AttentionArgs& args, const QueryBlock& block, const float* states) {
  const int64_t group = args.heads / args.key_heads, F = args.value_width, size = softmax_state_floats(F);
  for (int64_t query = block.query_begin; query < block.query_end; query++, states += size) {
    float* y = args.y + (block.first_row + query / group) * args.y_stride + (block.key_head * group + query % group) * F;
    f32x16 total = splat(states[1]), keep = splat(1.0f);
    if (args.sinks != nullptr) sink(args.sinks[block.key_head * group + query % group], states, &keep, &total);
    for (int64_t f = 0; f < F; f += kLanes) {
      const f32x16 x = load(states + kLanes + f) * keep / total;
      if (F - f >= kLanes) store(y + f, x);
      else store_part(y + f, x, F - f);
    }
  }
}

}  // namespace PACOS_ISA
}  // namespace pacos
