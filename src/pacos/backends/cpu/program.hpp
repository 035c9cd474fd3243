/* program.hpp: a compiled plan and how it runs.

   An instruction is an op with its operands; an op has phases, a phase is a number of independent tasks (see pool.hpp).
   The program is the pool's Job: advance() walks the instructions, does small phases itself and hands large ones out.
   Python has proved every address and size when it made the program; what a step brings is checked here. */
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "backends/cpu/kernels.hpp"
#include "backends/cpu/observed.hpp"
#include "backends/cpu/pool.hpp"
#include "backends/cpu/row_kernels.hpp"
#include "pacos.h"

namespace pacos {

/* Memory aligned to 64 bytes. Large blocks come straight from the system and cost nothing until they are touched. */
class Memory {
 public:
  explicit Memory(int64_t bytes)
      : data_(static_cast<uint8_t*>(::operator new(static_cast<size_t>(bytes), std::align_val_t{64}))) {}
  ~Memory() { ::operator delete(data_, std::align_val_t{64}); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  uint8_t* data() const { return data_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }

 private:
  uint8_t* data_;
};

constexpr int32_t kTypeF32 = 0, kTypeI32 = 26;   // ggml type ids

inline int64_t type_row_bytes(int32_t type, int64_t K) {
  const FormatFacts* facts = format_facts(type);
  return K / facts->block * facts->block_bytes;
}

/* Shapes: [rows, heads, width]; activations are f32, `stride` floats from row to row; a matrix has heads 1. */
struct Value {
  uint8_t* data;
  int64_t stride;
  int32_t kind, type, rows, heads, width;

  const float* row(int64_t i) const { return reinterpret_cast<const float*>(data) + i * stride; }
  float* row(int64_t i) { return reinterpret_cast<float*>(data) + i * stride; }
  const int32_t* integers() const { return reinterpret_cast<const int32_t*>(data); }
  int64_t row_width() const { return int64_t{heads} * width; }
};

class Program;
struct Instruction;

struct Phase {
  int64_t tasks;        // 0: nothing to do
  double nanoseconds;   // of all tasks on one thread, roughly
};

struct Columns { int64_t begin, end; };

/* How an op runs. Either row is set: rows of the first result are independent, and with `splits` so are columns; or begin
   and task are. */
struct Op {
  const char* name;
  double row_cost;   // nanoseconds per element
  bool splits;
  void (*row)(Program&, const Instruction&, int64_t row, Columns columns);
  int phases;
  Phase (*begin)(Program&, const Instruction&, int phase);
  void (*task)(Program&, const Instruction&, int phase, int64_t index, int thread);
};

struct Instruction {
  const Op* op;
  std::vector<Value*> in, out;   // in: null where the op has no such operand
  double attributes[8];
  const double* table;
  const float* biases;   // of attention, [H][2 reach + 1], in units of base 2
};

struct Layer {
  uint8_t *keys, *values;
  int64_t key_page_bytes, value_page_bytes;
};

/* What the current phase of each kind of op has worked out. */
struct RowState { int64_t rows, rows_per_task, segments, segment; };

struct LinearState {
  struct Matrix { LinearArgs args; int64_t rows_per_task, first_task; };
  std::vector<Matrix> matrices;
  uint8_t* acts[3];
  int64_t act_stride[3];
  int kinds[3], kind_count;
};

/* Slots of rows, grouped by expert. */
struct ExpertState {
  std::vector<int32_t> starts;    // [experts + 1] where each expert's slots begin among the sorted ones
  std::vector<int32_t> sorted;    // [slots] their place there
  std::vector<int64_t> places;    // [sorted slots] and where their results lie, in floats
};

struct AttentionState {
  struct Block { QueryBlock block; int64_t chunk_begin, chunk_end, partial; };
  AttentionArgs args;
  std::vector<Block> blocks;
  bool appends;          // each task stores its own keys and values first
  int64_t segments;      // tasks per block and key head, each some chunks in order
  double nanoseconds;    // of attending, roughly
};

struct RecurrentState {
  int64_t blocks;        // tasks of one sequence
  int64_t block_rows;    // state rows of one head, or channels, of a task
};

constexpr int64_t kPartialFloats = int64_t{1} << 20;   // room for states of chunks that different threads compute
constexpr double kSerialNanoseconds = 4000;            // less work than this is not worth handing out

class Program final : public Job {
 public:
  /* Throws std::bad_alloc, or the step code of an index among the weights that is out of range. */
  Program(const pacos_plan& plan, Pool& pool, const Kernels& kernels, const RowKernels& rows);

  int32_t run(const pacos_step& step);
  void task(int64_t index, int thread) override;
  int64_t advance(int thread) override;

  int64_t rows_of(const Value& value) const {
    return value.rows >= 0 ? value.rows : value.rows == PACOS_ROWS_TOKENS ? step->tokens_count : step->outputs_count;
  }
  int64_t most_rows(const Value& value) const { return value.rows >= 0 ? value.rows : max_tokens; }
  /* As what matrices of a type multiply n rows: with exact activations as f32, whatever the type. */
  int32_t act_kind(int32_t type, int64_t n) const {
    return act_kind_of(exact ? int32_t{ACT_F32} : format_facts(type)->act_kind, n);
  }
  bool widens(int32_t type) const { return exact && format_facts(type)->act_kind != ACT_F32; }
  /* Where in a thread's scratch the widened rows of a matrix lie, behind what the f32 kernel needs. */
  int64_t widened_offset(int64_t K, int64_t n) const { return round_up(kernels.linear_scratch(kTypeF32, K, n), 64); }
  bool serial(double nanoseconds) const { return pool.threads() == 1 || nanoseconds < kSerialNanoseconds; }
  uint8_t* scratch(int thread) const { return scratch_->data() + thread * scratch_bytes_; }
  float* states(int thread, int64_t size, int which) const {
    return reinterpret_cast<float*>(scratch(thread) + states_offset_) + which * kBlockQueries * size;
  }

  Pool& pool;
  const Kernels& kernels;
  const RowKernels& rows;
  const pacos_step* step = nullptr;
  std::vector<Layer> layers;
  float* states_of_slots;
  int64_t slot_floats;
  int32_t slots;
  int32_t page_tokens, page_count, type_k, type_v, max_tokens;
  bool exact;   // activations stay f32
  std::unique_ptr<Memory> acts, partials;
  std::unique_ptr<std::atomic<int32_t>[]> unfinished;   // segments of each block and key head
  int64_t unfinished_count = 0;

  RowState row_state{};
  LinearState linear;
  ExpertState experts;
  AttentionState attention;
  RecurrentState recurrent{};

  std::atomic<bool> cancel{false};
  pacos_fault fault{};
  int64_t bytes = 0;
  bool profiling = false;
  std::vector<double> seconds;
  std::vector<Observed> observed;   // of each instruction; empty: nobody asked
  void begin_observing();
  const Value& result() const { return values_[static_cast<size_t>(result_)]; }

 private:
  void resolve(const pacos_plan& plan);
  void own_vectors(Instruction& instruction);
  Value* owned_copy(const Value& value);
  void spread_biases(Instruction& instruction);
  void bound_indices(const Instruction& instruction);
  void bound(const Value& index, const Value& table);
  void reserve_matrices(const Instruction& instruction);
  int64_t matrix_scratch(const Value& w, int64_t n) const;
  void reserve();
  bool refuse(int32_t code, int64_t at, int64_t value, int64_t bound);
  bool accepts(const pacos_step& step);
  bool accepts_sequence(const pacos_step& step, int64_t sequence);
  bool accepts_slots(const pacos_step& step);
  bool accepts_sources(const pacos_step& step);

  std::vector<Value> values_;
  std::vector<Instruction> instructions_;
  std::vector<std::unique_ptr<Memory>> owned_;          // vectors that the file does not hold as aligned f32
  std::vector<std::unique_ptr<Value>> owned_values_;
  std::unique_ptr<Memory> arena_, scratch_;
  int64_t scratch_bytes_ = 0, states_offset_ = 0, acts_bytes_ = 0;
  int64_t limits_[4];   // what tokens, positions, outputs and types must be below
  std::vector<int32_t> zeros_;   // types of a step that gives none
  int32_t result_, status_ = 0;
  bool has_attention_ = false, has_source_ = false;   // whether keys and values are read; those of a source
  size_t at_ = 0;
  int phase_ = 0;
  std::chrono::steady_clock::time_point started_;
};

/* Where the matrices begin among the operands of an op that multiplies by some, each followed by its bias; 0: no such op. */
size_t first_matrix(const Instruction& instruction);

extern const Op kOps[];
extern const int kOpCount;

}  // namespace pacos
