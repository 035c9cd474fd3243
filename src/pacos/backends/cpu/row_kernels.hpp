/* row_kernels.hpp: the table of everything that is not a matrix product, one per instruction set.

   rows_<isa>.cpp compiles rows.hpp and attention.hpp with that set's flags and exports one constant table. All tables
   give the same bits. A row's result depends on that row alone. */
#pragma once
#include <cstdint>

namespace pacos {

enum StorageType : int32_t {   // ggml type ids
  STORE_F32 = 0, STORE_F16 = 1, STORE_Q4_0 = 2, STORE_Q4_1 = 3, STORE_Q5_0 = 6, STORE_Q5_1 = 7, STORE_Q8_0 = 8,
  STORE_IQ4_NL = 20, STORE_BF16 = 30,
};

constexpr int64_t kChunkKeys = 256;    // keys that one softmax piece covers; pieces merge in order of position
constexpr int64_t kBlockQueries = 96;  // queries that share a page of keys while it is warm; whole tiles

/* One attention op during one step.
   Shapes: q [T, H, E], k [T, K, E], v [T, K, F], y [T, H * F]; rows are *_stride floats apart.
   Keys of a page: [K][page_tokens / 16][E][16 keys]; values: [K][F / 16][page_tokens][16] and, when F % 16 = w is not 0,
   [page_tokens][w] behind them. So the innermost sixteen are lanes for scores and for results alike. Block formats keep
   the same order of lanes: stored.hpp. */
struct AttentionArgs {
  const float *q, *k, *v;
  float* y;
  int64_t q_stride, k_stride, v_stride, y_stride;
  int32_t heads, key_heads, key_width, value_width;
  uint8_t *keys, *values;                   // page 0 of this layer
  int64_t key_page_bytes, value_page_bytes;
  int32_t page_tokens, key_type, value_type;
  int32_t window;                           // 0: none; both ways half of it lies on either side
  float scale, softcap;                     // softcap 0: none
  const double* slopes;                     // [H]: how much a score falls for each position of distance; null: nothing
  bool bidirectional;                       // queries see all keys of their sequence
  int32_t chunk;                            // queries see keys from the last multiple of it on; 0: all
  const float* sinks;                       // [H]: a score of each head that goes to nothing; null: none
  bool after_source, source_alone;          // queries see no keys of their sequence's source, or these alone, all of them
  const float* biases;                      // [H][2 reach + 1]: added to scores by the distance to the key; null: nothing
  int32_t reach;                            // farther keys count as being so far away
};

/* Queries [query_begin, query_end) of one sequence and one key head; query j is row first_row + j / G, head
   key_head * G + j % G, where G = H / K. positions and pages are the sequence's. */
struct QueryBlock {
  const int32_t* positions;   // of row first_row on
  const int32_t* pages;
  int32_t first_row, key_head, query_begin, query_end;
  int32_t last_position;      // of the sequence in this step
  int32_t source;             // its first positions, which an encoder reads
};

/* Softmax state of one query: largest score, sum of exponentials, weighted values [F rounded up to 16]. sum = 0: empty. */
constexpr int64_t softmax_state_floats(int64_t value_width) { return 16 + (value_width + 15) / 16 * 16; }

constexpr int64_t kTapsMax = 16, kRowWidthMax = 1024;   // TAPS_MAX and ROW_WIDTH_MAX of ir/ops/recurrent.py

/* A recurrent op on one sequence during one step: rows [begin, end) of a head's state, `width` numbers each.
   Operands of the step's tokens are at the sequence's first row, rows `stride` floats apart. */
struct RecurrentArgs {
  const float* in[6];
  int64_t stride[6];
  float* y;
  int64_t y_stride, tokens;
  const float* from;   // the sequence's state before the step; null: it begins
  float* to;           // after it; may be the same
  int32_t rows, width, head, key_head, begin, end;
  bool wide;           // decays are one for each number of a row, not one a head
};

struct RowKernels {
  void (*rms_norm)(const float* x, const float* w, float* y, int64_t n, float eps);   // w or null
  void (*layer_norm)(const float* x, const float* w, const float* bias, float* y, int64_t n, float eps);   // bias or null
  void (*add)(const float* a, const float* b, float* y, int64_t n);
  void (*mul)(const float* a, const float* b, float* y, int64_t n);
  void (*scale)(const float* x, float factor, float* y, int64_t n);
  void (*silu)(const float* x, float* y, int64_t n);
  void (*gelu)(const float* x, float* y, int64_t n);
  void (*gelu_tanh)(const float* x, float* y, int64_t n);
  void (*silu_mul)(const float* gate, const float* up, float* y, int64_t n);
  void (*gelu_mul)(const float* gate, const float* up, float* y, int64_t n);
  void (*gelu_tanh_mul)(const float* gate, const float* up, float* y, int64_t n);
  void (*softcap)(const float* x, float cap, float* y, int64_t n);
  /* y[i] = sum over u of x[u * width + i] * weights[u], in order of u. */
  void (*weigh)(const float* x, const float* weights, float* y, int64_t n, int64_t slots, int64_t width);
  void (*clamped_silu_mul)(const float* gate, const float* up, float alpha, float limit, float* y, int64_t n);
  float (*dot)(const float* x, const float* w, int64_t n);
  void (*sigmoid)(const float* x, float* y, int64_t n);
  void (*softplus)(const float* x, float* y, int64_t n);
  void (*exp)(const float* x, float* y, int64_t n);
  void (*lerp)(const float* x, const float* y, const float* share, float* z, int64_t n);
  void (*head_bonus)(const float* r, const float* k, const float* u, const float* v, float* y, int64_t n);
  void (*l2_norm)(const float* x, float* y, int64_t n, float eps);
  /* One head of E floats; angles hold `pairs` cosines, then as many sines. */
  void (*rotate_pairs)(const float* x, const float* angles, float* y, int64_t E, int64_t pairs);
  void (*rotate_halves)(const float* x, const float* angles, float* y, int64_t E, int64_t pairs);
  /* Bytes that so many stored numbers, whole blocks, take in pages; 0 for a type that no page can hold. */
  int64_t (*stored_bytes)(int32_t type, int64_t numbers);
  /* Store keys and values of rows [0, rows) from first_row on, for one key head. */
  void (*append)(const AttentionArgs& args, const QueryBlock& block, int64_t rows);
  /* Visible chunks [begin, end) of a block. */
  void (*chunks)(const AttentionArgs& args, const QueryBlock& block, int64_t* begin, int64_t* end);
  /* One chunk's states, state_floats apart; scratch: attention_scratch bytes, aligned to 64, private to the thread. */
  void (*attend)(const AttentionArgs& args, const QueryBlock& block, int64_t chunk, float* states, void* scratch);
  /* Add the states of the next chunk to the states so far, for `queries` queries. */
  void (*merge)(float* states, const float* next, int64_t queries, int64_t value_width);
  /* Divide by the sums and write rows of y. */
  void (*finish)(const AttentionArgs& args, const QueryBlock& block, const float* states);
  /* recurrent.hpp */
  void (*short_conv)(const RecurrentArgs& args);
  void (*token_before)(const RecurrentArgs& args);
  void (*selective_scan)(const RecurrentArgs& args);
  void (*grouped_scan)(const RecurrentArgs& args);
  void (*delta_rule)(const RecurrentArgs& args);
  void (*wkv6)(const RecurrentArgs& args);
  void (*wkv7)(const RecurrentArgs& args);
};

/* Bytes that attend() and two arrays of states for kBlockQueries queries need. */
constexpr int64_t attention_scratch(int64_t page_tokens, int64_t E, int64_t F) {
  const int64_t wide = (F + 15) / 16 * 16;
  return 4 * (kBlockQueries * (kChunkKeys + E) + page_tokens * (E > wide ? E : wide) + 64);
}

extern const RowKernels rows_portable;
extern const RowKernels rows_avx2;
extern const RowKernels rows_avx512;
extern const RowKernels rows_neon;

}  // namespace pacos
