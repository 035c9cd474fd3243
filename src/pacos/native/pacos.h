/* pacos.h: the whole surface of the native library. Plain C ABI; no Python, no file, no exception crosses it.
   Each section belongs to one folder of the package; its Python side declares the same signatures with ctypes. */
#ifndef PACOS_H
#define PACOS_H
#include <stdint.h>

#if defined(_WIN32)
#define PACOS_API __declspec(dllexport)
#else
#define PACOS_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- native/ : the library itself ---- */
#define PACOS_ABI_VERSION 1240262543  /* a test says which: the sum of the other lines */
PACOS_API int32_t pacos_abi_version(void);
/* Keep what is freed for the next allocation (1), or give it back to the system (0); 0, or -1 where that is not known. */
PACOS_API int32_t pacos_keep_freed_memory(int32_t keep);

/* ---- formats/ : model files ---- */
/* Walk `count` strings (u64 length and that many bytes each) from `region`. Returns the offset behind the last one,
   or -1 - i when string i passes `nbytes` or is longer than `max_string_bytes`. Where `starts` is not null, it gets the
   offset of each string's length. */
PACOS_API int64_t pacos_gguf_strings_end(const uint8_t *region, uint64_t nbytes, uint64_t count,
                                         uint64_t max_string_bytes, uint64_t *starts);

/* Watch mapped bytes of a file: when reading them fails, the process writes `line` to standard error and ends with exit
   code 3. Other faults of that kind go where they went before. Gives what unwatch takes, or null: nothing is watched. */
PACOS_API void *pacos_watch(const void *begin, uint64_t nbytes, const char *line);
PACOS_API void pacos_unwatch(void *entry);

/* ---- formats/ : weights that other programs have packed ----
   Rows [begin, end) to `out`, as rows of a ggml type; one thread each. 0; -1: a type or sizes that do not fit, -2: out of
   memory. */
enum {
    PACOS_CODES_DOWN = 0,    /* words run down the columns: [words][rows] (GPTQ) */
    PACOS_CODES_MIXED = 1,   /* a word holds eight rows, interleaved: [columns][rows / 8]; ranges are of whole words (AWQ) */
    PACOS_CODES_ALONG = 2,   /* words run along the rows: [rows][words] */
    PACOS_CODES_SPACED = 3,  /* the same, no number crossing a word */
    PACOS_CODES_BYTES = 4    /* signed bytes: [rows][columns], read as 128 more than they are */
};
/* w = (code - centre) * step. */
typedef struct pacos_codes {
    const uint8_t* packed;    /* of any alignment */
    const int16_t* centres;   /* [rows][groups] */
    const float* steps;       /* [rows][groups] */
    const int32_t* group_of;  /* [columns]; null: equal runs of columns */
    int64_t rows, columns, groups, run, words;
    int32_t layout, bits;
} pacos_codes;
/* To F32, F16 or BF16; or, of runs of whole blocks, to Q4_0, Q5_0 or Q8_0, whose range holds code - centre. */
PACOS_API int32_t pacos_unpack_codes(const pacos_codes* from, int32_t type, int64_t begin, int64_t end, void* out);
/* w = values[byte] * scale, one scale for each tile of rows and columns of a matrix; matrices lie one behind the other. */
typedef struct pacos_eights {
    const uint8_t* raw;       /* [rows][columns] */
    const float* values;      /* [256] */
    const float* scales;      /* [matrices * tiles of rows][tiles of columns] */
    int64_t columns, matrix_rows, tile_rows, tile_columns;
} pacos_eights;
/* To F32, F16 or BF16. */
PACOS_API int32_t pacos_unpack_eights(const pacos_eights* from, int32_t type, int64_t begin, int64_t end, void* out);
/* Blocks [blocks][16] of neighbouring MXFP4 codes, and their exponents, to GGUF's blocks of 17 bytes. */
PACOS_API void pacos_unpack_fours(const uint8_t* codes, const uint8_t* exponents, int64_t blocks, uint8_t* out);

/* ---- text/ : tokenizers ----
   Strings come as they lie in a GGUF file: a 64-bit little-endian length and the bytes, repeated.
   Failures are negative: src/pacos/text/failures.hpp. `where` is the piece or merge at fault.
   What fills a buffer returns the size needed; when that is more than `capacity`, nothing was written. */
typedef struct pacos_tokenizer pacos_tokenizer;
enum {
    PACOS_BPE_BYTE_LEVEL = 1,
    PACOS_BPE_WHOLE_WORDS = 2,
    PACOS_BPE_ESCAPE_SPACES = 4,
    PACOS_BPE_NEWLINE_PIECES = 8,
    PACOS_BPE_DROP_SPACES = 16,
    PACOS_BPE_LOWER = 32
};
enum { PACOS_WORDPIECE_LOWER = 1, PACOS_WORDPIECE_STRIP_MARKS = 2 };
enum { PACOS_UNIGRAM_ADD_SPACE = 1, PACOS_UNIGRAM_MERGE_SPACES = 2 };
PACOS_API int32_t pacos_tokenizer_new(const uint8_t *strings, uint64_t size, uint32_t count, pacos_tokenizer **out,
                                      int64_t *where);
PACOS_API void pacos_tokenizer_free(pacos_tokenizer *t);
/* Setting up: types, then one kind of encoder, then splitters and special tokens. */
PACOS_API int32_t pacos_tokenizer_types(pacos_tokenizer *t, const int32_t *types);
PACOS_API int32_t pacos_tokenizer_bpe(pacos_tokenizer *t, const uint8_t *merges, uint64_t size, uint32_t count,
                                      uint32_t flags, int64_t *where);
PACOS_API int32_t pacos_tokenizer_splitter(pacos_tokenizer *t, const char *expression, char *message,
                                           uint64_t capacity);
PACOS_API int32_t pacos_tokenizer_sentencepiece(pacos_tokenizer *t, const float *scores, int32_t add_space,
                                                int32_t unknown_id);
PACOS_API int32_t pacos_tokenizer_wordpiece(pacos_tokenizer *t, uint32_t flags, int32_t unknown_id);
/* charsmap: what characters become, in SentencePiece's precompiled form; empty for none. */
PACOS_API int32_t pacos_tokenizer_unigram(pacos_tokenizer *t, const float *scores, const uint8_t *charsmap,
                                          uint64_t size, uint32_t flags, int32_t unknown_id);
PACOS_API int32_t pacos_tokenizer_rwkv(pacos_tokenizer *t, int32_t unknown_id);
PACOS_API int32_t pacos_tokenizer_plamo2(pacos_tokenizer *t, const float *scores);
/* flags: 1 only in markup, 2 swallows white space on the left, 4 on the right. */
PACOS_API int32_t pacos_tokenizer_special(pacos_tokenizer *t, int32_t id, uint32_t flags);
/* Using it, from any number of threads. */
PACOS_API int32_t pacos_tokenizer_find(const pacos_tokenizer *t, const char *text, uint64_t size);
/* The ids of this type, ascending. */
PACOS_API int64_t pacos_tokenizer_of_type(const pacos_tokenizer *t, int32_t type, int32_t *out, uint64_t capacity);
PACOS_API int64_t pacos_tokenizer_text(const pacos_tokenizer *t, int32_t id, uint8_t *out, uint64_t capacity);
PACOS_API int64_t pacos_tokenizer_pieces(const pacos_tokenizer *t, const int32_t *ids, uint64_t count,
                                         int32_t special, uint8_t *out, uint64_t capacity);
/* markup: `spans` pairs of begin and end in bytes, ascending and disjoint, where control tokens may be recognised. */
PACOS_API int64_t pacos_tokenizer_encode(const pacos_tokenizer *t, const uint8_t *text, uint64_t size,
                                         const uint64_t *markup, uint64_t spans, int32_t *out, uint64_t capacity);
/* Ends in bytes of the words that a BPE tokenizer cuts valid UTF-8 into before merging. */
PACOS_API int64_t pacos_tokenizer_split(const pacos_tokenizer *t, const uint8_t *text, uint64_t size, uint32_t *ends,
                                        uint64_t capacity);

/* ---- backends/cpu/ : the machine's limits, measured ---- */
/* Bytes per second that `threads` threads read together from blocks of their own. */
PACOS_API double pacos_machine_bandwidth(int32_t threads, int64_t bytes_per_thread);
/* 8-bit integer operations per second, multiplications and additions, of an instruction set ("avx2"). */
PACOS_API double pacos_machine_int8_rate(int32_t threads, const char* isa, int64_t rounds);
/* The same of f32. */
PACOS_API double pacos_machine_float_rate(int32_t threads, const char* isa, int64_t rounds);

/* ---- backends/cpu/ : programs ---- */
typedef struct pacos_pool pacos_pool;
typedef struct pacos_program pacos_program;

/* Threads that run steps, the caller of pacos_program_run being one of them; null when the system gives none. */
PACOS_API pacos_pool* pacos_pool_create(int32_t threads);
PACOS_API void pacos_pool_free(pacos_pool* pool);
/* Run `phases` phases of `tasks` tasks that add their number from 1 on; gives that sum + phases + 1. For tests. */
PACOS_API int64_t pacos_pool_exercise(pacos_pool* pool, int64_t phases, int64_t tasks, int64_t work);

/* The name of the instruction set that `wanted` stands for on this machine ("" or null: the best); null when there is none. */
PACOS_API const char* pacos_cpu_isa(const char* wanted);
/* The number of an op, -1 when it is unknown; whether matrices of a ggml type can be multiplied,
   and whether pages can hold keys and values of it. */
PACOS_API int32_t pacos_op_code(const char* name);
PACOS_API int32_t pacos_cpu_has_type(int32_t type);
PACOS_API int32_t pacos_cpu_stores_type(int32_t type);

enum { PACOS_VALUE_ARENA = 0, PACOS_VALUE_WEIGHT = 1, PACOS_VALUE_TOKENS = 2, PACOS_VALUE_POSITIONS = 3, PACOS_VALUE_OUTPUTS = 4,
       PACOS_VALUE_TYPES = 5, PACOS_VALUE_SCALES = 6 };
enum { PACOS_ROWS_TOKENS = -1, PACOS_ROWS_OUTPUTS = -2 };
typedef struct pacos_value {
    int64_t place;               /* arena: offset in bytes; weight: address */
    int64_t stride;              /* floats from row to row */
    int32_t kind, type, rows, heads, width;
    int32_t unused;
} pacos_value;
typedef struct pacos_instruction {
    int32_t op, first_operand, inputs, results; /* operands: inputs, then results; numbers of values, -1 for none */
    double attributes[8];
    const double* table;
} pacos_instruction;
typedef struct pacos_layer {
    void* keys;
    void* values;
    int64_t key_page_bytes, value_page_bytes;
} pacos_layer;
typedef struct pacos_plan {
    const pacos_value* values;
    const pacos_instruction* instructions;
    const int32_t* operands;
    const pacos_layer* layers;
    float* states;               /* [slots][slot_floats]; null: the model has none */
    int64_t slot_floats;
    int64_t arena_bytes;
    int32_t values_count, instructions_count, layers_count, result;
    int32_t max_tokens, page_tokens, page_count, slots, type_k, type_v;
    int32_t exact_activations;   /* 1: quantised matrices multiply f32 rows instead of 8-bit ones */
} pacos_plan;
typedef struct pacos_step {
    const int32_t *tokens, *positions, *sequence_starts, *outputs, *types;   /* types: null when all are 0 */
    const int32_t *states_from, *states_to;                                  /* slots; null when the model has no states */
    const int32_t* sources;            /* positions of each sequence that an encoder reads; null when there is none */
    const float* scales;                                                     /* [tokens][adapters]; null for none */
    const int32_t* const* page_tables;
    const int32_t* page_table_lengths;
    int32_t tokens_count, sequences_count, outputs_count;
} pacos_step;
/* What was wrong with a step: `value` at index `at` must be below `bound`. */
typedef struct pacos_fault {
    int64_t at, value, bound;
} pacos_fault;
enum {
    PACOS_STEP_CANCELLED = 1,
    PACOS_STEP_TOKENS_COUNT = -1, PACOS_STEP_SEQUENCES = -2, PACOS_STEP_TOKEN = -3, PACOS_STEP_POSITION = -4,
    PACOS_STEP_ORDER = -5, PACOS_STEP_PAGE_TABLE = -6, PACOS_STEP_PAGE = -7, PACOS_STEP_OUTPUT = -8, PACOS_STEP_ROWS = -9,
    PACOS_STEP_TYPE = -10, PACOS_STEP_SLOT = -11, PACOS_STEP_NO_SLOTS = -13,
    PACOS_STEP_NO_SOURCES = -14, PACOS_STEP_SOURCE = -15, PACOS_STEP_NO_SCALES = -16
};
/* Null when memory is short or an index among the weights is out of range; *code says which (-12, or a step code). */
PACOS_API pacos_program* pacos_program_create(const pacos_plan* plan, pacos_pool* pool, const char* isa, int32_t* code);
PACOS_API void pacos_program_free(pacos_program* program);
/* One forward pass: 0, PACOS_STEP_CANCELLED, or a negative step code; *fault then holds the numbers. */
PACOS_API int32_t pacos_program_run(pacos_program* program, const pacos_step* step, pacos_fault* fault);
/* End the run that is going on, or the next one, between two instructions. From any thread. */
PACOS_API void pacos_program_cancel(pacos_program* program);
PACOS_API const float* pacos_program_result(const pacos_program* program);
PACOS_API int64_t pacos_program_bytes(const pacos_program* program);
/* Switch timing of instructions on (and its sums to zero) or off; read the sums, seconds per instruction. */
PACOS_API void pacos_program_profile(pacos_program* program, int32_t on);
PACOS_API void pacos_program_seconds(const pacos_program* program, double* seconds);
/* Switch sums of the squares of what matrices are multiplied with on (from zero) or off; 0, or -12 when memory is short.
   Read those of one instruction, while they are on: sums [matrices][columns], rows [matrices] multiplied. */
PACOS_API int32_t pacos_program_observe(pacos_program* program, int32_t on);
PACOS_API void pacos_program_squares(const pacos_program* program, int32_t instruction, double* sums, int64_t* rows);

/* ---- quants/ : block formats ----
   isa: "portable", "avx2", "avx512", "neon", "neondot"; null or "" is the best. type: ggml type id. One thread each.
   -1: unknown isa or type, or sizes that do not fit; -2: out of memory. */

/* Names of the instruction sets that this machine can run, best first, separated by spaces. */
PACOS_API const char* pacos_cpu_isas(void);
/* n weights (whole blocks) to f32. */
PACOS_API int32_t pacos_dequantize(const char* isa, int32_t type, const void* src, float* dst, int64_t n);
/* One row of K activations to kind 0 (f32), 1 (32 per scale) or 2 (256 per scale); out is aligned to 64 and large
   enough (8 K + 256 bytes always are). Bytes written. */
PACOS_API int32_t pacos_quantize_activations(const char* isa, int32_t kind, const float* x, int64_t K, void* out);
/* y[n][rows] = x[n][K] times w[rows][K] transposed, plus bias[rows] unless null; the product is repeated for timing. */
PACOS_API int32_t pacos_linear(const char* isa, int32_t type, const void* w, int64_t rows, int64_t K, const float* x, int64_t n,
                               const float* bias, float* y, int32_t repeats);

/* Searches of quants/search.py, which says what they do: groups of n weights each, x [groups][n]. */
PACOS_API int32_t pacos_search_scale_and_minimum(const float* x, const float* weights, int64_t groups, int32_t n,
                                                 int32_t top, float first, float step, int32_t steps, int32_t absolute,
                                                 float* scales, float* minimums, uint8_t* codes);
PACOS_API int32_t pacos_search_signed_scale(const float* x, const float* weights, int64_t groups, int32_t n,
                                            int32_t half, float* scales, uint8_t* codes);
PACOS_API int32_t pacos_search_refined_scale(const float* x, const float* weights, int64_t groups, int32_t n,
                                             int32_t half, float* scales, uint8_t* codes);
PACOS_API int32_t pacos_search_positive_scale(const float* x, const float* weights, int64_t groups, int32_t n,
                                              int32_t top, float* scales, uint8_t* codes);
PACOS_API int32_t pacos_search_level_scale(const float* x, const float* weights, int64_t groups, int32_t n,
                                           const float* levels, int32_t count, int32_t tries, float* scales);

/* n floats, whole blocks, packed as a file of this type has them; blocks of one type as those of another, by way of floats.
   -1: sizes that do not fit, or a target that is packed in Python only; -2: pacos_repack met NaN or infinity. One thread
   each. */
PACOS_API int32_t pacos_pack(int32_t type, const float* x, int64_t n, void* to);
PACOS_API int32_t pacos_repack(int32_t from, const void* src, int32_t to, void* dst, int64_t n);

/* Searches on grids, of quants/on_grid.py. A grid has `count` vectors of `width` codes below `levels`; null when
   it makes no sense or memory is short; it stays until the process ends. Of a group that is all zeros, or has no peak, scale and numbers are 0. */
typedef struct pacos_grid pacos_grid;
PACOS_API pacos_grid* pacos_grid_create(const uint8_t* codes, int32_t count, int32_t width, int32_t levels,
                                        int32_t shells);
PACOS_API int32_t pacos_search_on_grid(const pacos_grid* grid, const float* x, const float* weights, const float* peaks,
                                       int64_t groups, int32_t n, int32_t tries, float step, int32_t again,
                                       float* scales, uint16_t* numbers);
PACOS_API int32_t pacos_search_ternary(const pacos_grid* grid, const float* x, const float* weights, int64_t groups,
                                       int32_t n, int32_t halves, float tiny, float* scales, uint16_t* numbers,
                                       uint8_t* shifts);

/* ---- engine/ : sampling ---- */

/* How to choose a token; names and meanings as SamplingOptions in settings/. A stage is a number of engine/sampler.py. */
typedef struct {
    uint64_t seed;
    const int32_t* bias_ids;        /* [bias_count], ascending */
    const float* bias_values;       /* [bias_count], -inf bans */
    const int32_t* breaker_heads;   /* [breaker_count], ascending: first tokens of the sequences that end a run */
    const int32_t* breaker_starts;  /* [breaker_count + 1]: where the other tokens of each begin in breaker_tails */
    const int32_t* breaker_tails;
    int32_t bias_count, breaker_count, stage_count;
    int32_t stages[32];
    int32_t top_k, min_keep, repeat_last_n, dry_allowed_length, dry_penalty_last_n, mirostat;
    float temp, dynatemp_range, dynatemp_exponent, top_p, min_p, typical_p, top_n_sigma, tfs_z, top_a;
    float xtc_probability, xtc_threshold, repeat_penalty, presence_penalty, frequency_penalty;
    float dry_multiplier, dry_base, mirostat_tau, mirostat_eta, adaptive_target, adaptive_decay;
} pacos_sampling;
/* What mirostat and adaptive-p remember of a sequence, before and after the token at `position`; first -1 and zeros.
   To sample the same position again gives the same token. */
typedef struct {
    int64_t position;
    double before[2], after[2];
} pacos_sampling_state;
/* What a token was drawn from, for who asks: all candidates in order of their ids, and the likeliest of them. */
typedef struct {
    int32_t* kept_ids;      /* [vocab], or null */
    double* kept_weights;   /* [vocab], or null */
    int32_t* top_ids;       /* [top_count] */
    double* top_logs;       /* [top_count]: natural logarithms of probabilities */
    double chosen_log;
    int32_t kept_count, top_count; /* top_count is lowered to what there is */
} pacos_sampling_report;

/* Bytes of scratch for one thread that samples; zeroed once, then kept by the caller. */
PACOS_API int64_t pacos_sample_scratch_bytes(int32_t vocab);
/* The next token after tokens [token_count], all of them below vocab, from logits [vocab]. mask, unless null: bit
   id % 32 of word id / 32 is set when the token may be chosen. Negative: -1 a logit is NaN or +inf, -2 every token is
   banned, -3 a bias names no token, -4 the mask allows no token, -5 out of memory. report may be null. */
PACOS_API int32_t pacos_sample(const pacos_sampling* options, const float* logits, int32_t vocab, const int32_t* tokens,
                               int32_t token_count, const uint32_t* mask, pacos_sampling_state* state, void* scratch,
                               pacos_sampling_report* report);
/* One of several rows to choose from; the parts are those of pacos_sample. */
typedef struct {
    const pacos_sampling* options;
    const float* logits;
    const int32_t* tokens;
    int64_t token_count;
    pacos_sampling_state* state;
} pacos_sampling_row;
/* The next token of each of rows [count] into out [count], without mask and report; an error as above in its place. */
PACOS_API void pacos_sample_rows(const pacos_sampling_row* rows, int32_t count, int32_t vocab, void* scratch, int32_t* out);
/* Log-probabilities of ids [count] into out [count]; 0, or an error as above (-3: an id outside the vocabulary). */
PACOS_API int32_t pacos_log_softmax_at(const float* logits, int32_t vocab, const int32_t* ids, int32_t count, double* out);
/* The log-probability of a token into out[0], of the `count` likeliest, best first, after it; their ids into top_ids.
   How many there are, or an error as above. */
PACOS_API int32_t pacos_score(const float* logits, int32_t vocab, int32_t token, int32_t count, void* scratch,
                              int32_t* top_ids, double* out);

/* ---- engine/ : pages in files ---- */

/* XXH64 of `count` parts as if they lay side by side. */
PACOS_API uint64_t pacos_checksum(const uint64_t* starts, const uint64_t* sizes, uint64_t count, uint64_t seed);

/* ---- engine/ : pooling ---- */

/* Add rows [count][width] to sums [width], in order. */
PACOS_API void pacos_rows_add(const float* rows, int64_t count, int64_t width, double* sums);
/* Divide x [width] by the divisor, then by a norm into y: -1 none, 0 the largest / 32760, else the p-norm of that p.
   -1: a number is not finite. */
PACOS_API int32_t pacos_normalize(double* x, int64_t width, double divisor, int32_t kind, float* y);

#ifdef __cplusplus
}
#endif
#endif
