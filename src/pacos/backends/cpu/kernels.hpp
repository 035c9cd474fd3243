/* kernels.hpp: the table of CPU kernels, one per instruction set, and the layouts they share.

   Each kernels_<isa>.cpp compiles the same headers with its own -m flags inside namespace pacos::<isa> and exports
   one constant table; what another table does as well it takes from there. Everything else in the library calls through a table, so one binary serves every machine.
   All tables give the same bits: see linear.hpp for the order of additions that binds them. */
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace pacos {

/* ---- activations ------------------------------------------------------------------------------------------
   One row of activations (one token) is quantised once and then shared by every matrix that consumes it.
   A quantised row is a structure of arrays; each section starts on a multiple of 64 bytes, rows are act_bytes apart
   (a multiple of 64) and the buffer is aligned to 64. Sections are zero-padded.
     ACT_F32   f32 x[K rounded up to 16], zero-padded. A f32 row with K % 16 == 0 may be used in place.
     ACT_LANES the same numbers as [k % 16][k / 16]; what kLanesFrom and more rows of ACT_F32 become.
               Rows are an odd multiple of eight cache lines apart: the same place of many rows falls into many sets.
     ACT_Q32   s8 codes[K], f32 scale[K/32], s32 sum[K/32]                          x = scale * code
     ACT_Q256  s8 codes[K], f32 scale[K/256], s16 sum16[K/16], s16 sum32[K/32]      sums are of codes
   scale = max|x| / 127, code = round_to_even(x * (127 / max|x|)). A group with an infinity or NaN has codes 0 and
   scale NaN, so that the damage shows; a group whose 127 / max|x| overflows counts as zeros. */
enum ActKind : int32_t { ACT_F32 = 0, ACT_Q32 = 1, ACT_Q256 = 2, ACT_LANES = 3 };
constexpr int kActKinds = 4;

constexpr int64_t kLanesFrom = 12;   // with fewer tokens, rearranging the weights too would cost more than it saves

/* The kind in which n tokens come to a matrix whose type wants `kind`. */
constexpr int32_t act_kind_of(int32_t kind, int64_t n) { return kind == ACT_F32 && n >= kLanesFrom ? int32_t{ACT_LANES} : kind; }

constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

struct ActLayout {
  int64_t scale, sum, sum32, bytes;   // byte offsets of the sections after the codes; bytes of the whole row
};

constexpr ActLayout act_layout(int32_t kind, int64_t K) {
  if (kind == ACT_F32) return {0, 0, 0, round_up(round_up(K, 16) * 4, 64)};
  if (kind == ACT_LANES) return {0, 0, 0, (round_up(K, 256) / 16 + 8) * 64};
  const int64_t codes = round_up(K, 64);
  if (kind == ACT_Q32) {
    const int64_t part = round_up(K / 32 * 4, 64);
    return {codes, codes + part, 0, codes + 2 * part};
  }
  const int64_t scale = round_up(K / 256 * 4, 64), sum16 = round_up(K / 16 * 2, 64);
  return {codes, codes + scale, codes + scale + sum16, codes + scale + sum16 + round_up(K / 32 * 2, 64)};
}

constexpr int64_t act_bytes(int32_t kind, int64_t K) { return act_layout(kind, K).bytes; }

/* ---- matrices ---------------------------------------------------------------------------------------------
   y[c * ld_y + r] = sum_k weights[r][k] * acts[c][k] + bias[r]      r < rows, c < n; or y[places[c] + r] = ... */
struct LinearArgs {
  const uint8_t* weights;   // row 0, in the file's block layout
  int32_t type;             // ggml type id
  int64_t rows, columns;    // columns = K, a multiple of the type's block
  int64_t row_bytes;        // distance of weight rows
  const uint8_t* acts;      // n rows of act_kind_of(the type's kind, n)
  int64_t act_stride;       // distance of activation rows in bytes, >= act_bytes
  int64_t n;                // tokens
  float* y;
  int64_t ld_y;             // distance of output rows in floats
  const float* bias;        // [rows] or null
  const int64_t* places = nullptr;   // [n]: where output rows lie from y on, in floats, unless they are ld_y apart
};

constexpr int64_t kRowGrain = 16;   // a row range starts on a multiple of this; it ends on one or at the last row

struct FormatFacts {
  int32_t act_kind, block, block_bytes;
};

/* A table's functions may only be called with types that format() knows. */
struct Kernels {
  const char* isa;
  /* Facts of a ggml type, null when it is unknown. */
  const FormatFacts* (*format)(int32_t type);
  /* Quantise one row of K floats to `kind`; out has act_bytes(kind, K), aligned to 64. */
  void (*quantize_row)(int32_t kind, const float* x, int64_t K, void* out);
  /* Rows [row_begin, row_end) for all n columns, on the calling thread. Best ranges: 64 rows (16..64) when n > 8,
     any multiple of 16 otherwise. scratch: linear_scratch(type, K, n) bytes, aligned to 64, private to the thread. */
  void (*linear)(const LinearArgs& args, int64_t row_begin, int64_t row_end, void* scratch);
  int64_t (*linear_scratch)(int32_t type, int64_t K, int64_t n);
  /* n weights (a multiple of the block) to f32. */
  void (*dequantize_row)(int32_t type, const void* src, float* dst, int64_t n);
};

extern const Kernels kernels_portable;
extern const Kernels kernels_avx2;
extern const Kernels kernels_avxvnni;
extern const Kernels kernels_avx512;
extern const Kernels kernels_amx;
extern const Kernels kernels_neon;
extern const Kernels kernels_neondot;
extern const Kernels kernels_neoni8mm;

/* The table of that name ("portable", "avx2", "avxvnni", "avx512", "amx", "neon", "neondot", "neoni8mm"), null when this
   build or this CPU lacks it. Null or "" gives the best one; never AMX, which runs only when it is named. */
const Kernels* find_kernels(const char* isa);

/* Facts of a ggml type, the same in every table; null when it is unknown. */
const FormatFacts* format_facts(int32_t type);

}  // namespace pacos
