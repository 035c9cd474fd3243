// Programs: made once from a plan, run once per step. See program.hpp.
#include "backends/cpu/experts.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace pacos {
namespace {

constexpr int32_t kNoMemory = -12;

}  // namespace

size_t first_matrix(const Instruction& instruction) {
  const char* name = instruction.op->name;
  return std::strncmp(name, "linear", 6) == 0 ? 1 : std::strncmp(name, "expert_linear", 13) == 0 ? 2 : 0;
}

Program::Program(const pacos_plan& plan, Pool& pool_, const Kernels& kernels_, const RowKernels& rows_)
    : pool(pool_),
      kernels(kernels_),
      rows(rows_),
      states_of_slots(plan.states),
      slot_floats(plan.slot_floats),
      slots(plan.slots),
      page_tokens(plan.page_tokens),
      page_count(plan.page_count),
      type_k(plan.type_k),
      type_v(plan.type_v),
      max_tokens(plan.max_tokens),
      exact(plan.exact_activations != 0),
      result_(plan.result) {
  std::fill(std::begin(limits_), std::end(limits_), std::numeric_limits<int64_t>::max());
  arena_ = std::make_unique<Memory>(plan.arena_bytes + 64);
  bytes = plan.arena_bytes;
  resolve(plan);
  for (auto& instruction : instructions_) {
    own_vectors(instruction);
    bound_indices(instruction);
    spread_biases(instruction);
  }
  reserve();
  zeros_.assign(static_cast<size_t>(max_tokens), 0);
  seconds.assign(instructions_.size(), 0.0);
}

/* Turn places and numbers into addresses. */
void Program::resolve(const pacos_plan& plan) {
  for (int32_t i = 0; i < plan.values_count; i++) {
    const pacos_value& value = plan.values[i];
    uint8_t* data = value.kind == PACOS_VALUE_ARENA    ? arena_->data() + value.place
                    : value.kind == PACOS_VALUE_WEIGHT ? reinterpret_cast<uint8_t*>(static_cast<intptr_t>(value.place))
                                                       : nullptr;
    values_.push_back({data, value.stride, value.kind, value.type, value.rows, value.heads, value.width});
  }
  for (int32_t i = 0; i < plan.instructions_count; i++) {
    const pacos_instruction& from = plan.instructions[i];
    Instruction to{&kOps[from.op], {}, {}, {}, from.table, nullptr};
    std::copy(std::begin(from.attributes), std::end(from.attributes), std::begin(to.attributes));
    for (int32_t k = 0; k < from.inputs + from.results; k++) {
      const int32_t number = plan.operands[from.first_operand + k];
      (k < from.inputs ? to.in : to.out).push_back(number < 0 ? nullptr : &values_[static_cast<size_t>(number)]);
    }
    instructions_.push_back(std::move(to));
  }
  for (int32_t i = 0; i < plan.layers_count; i++) {
    const pacos_layer& layer = plan.layers[i];
    layers.push_back({static_cast<uint8_t*>(layer.keys), static_cast<uint8_t*>(layer.values), layer.key_page_bytes,
                      layer.value_page_bytes});
  }
}

/* Kernels read vectors as aligned f32; what the file holds otherwise is converted here, once. */
void Program::own_vectors(Instruction& instruction) {
  const size_t matrix = first_matrix(instruction);
  const bool embeds = std::strcmp(instruction.op->name, "embed") == 0;
  for (size_t i = 0; i < instruction.in.size(); i++) {
    const Value* value = instruction.in[i];
    if (value == nullptr || value->kind != PACOS_VALUE_WEIGHT) continue;
    const bool stays = matrix != 0 && i >= matrix && (i - matrix) % 2 == 0;
    if (stays || (embeds && i == 1)) continue;   // matrices stay in the file's layout
    const bool plain = value->type == kTypeF32 || value->type == kTypeI32;
    if (!plain || reinterpret_cast<uintptr_t>(value->data) % 4 != 0) instruction.in[i] = owned_copy(*value);
  }
}

/* Biases of attention, a row of heads for each bucket, as a row of distances for each head. */
void Program::spread_biases(Instruction& instruction) {
  if (std::strcmp(instruction.op->name, "attention") != 0 || instruction.in[4] == nullptr) return;
  constexpr float kLog2e = 1.44269504088896341f;
  const Value& table = *instruction.in[4];
  const int64_t places = 2 * static_cast<int64_t>(instruction.attributes[7]) + 1;
  owned_.push_back(std::make_unique<Memory>(table.width * places * 4 + 64));
  bytes += table.width * places * 4;
  float* spread = owned_.back()->floats();
  for (int64_t head = 0; head < table.width; head++)
    for (int64_t place = 0; place < places; place++)
      spread[head * places + place] = table.row(static_cast<int64_t>(instruction.table[place]))[head] * kLog2e;
  instruction.biases = spread;
}

Value* Program::owned_copy(const Value& value) {
  const int64_t count = value.rows * value.row_width();
  owned_.push_back(std::make_unique<Memory>(count * 4 + 64));
  bytes += count * 4;
  uint8_t* data = owned_.back()->data();
  if (value.type == kTypeF32 || value.type == kTypeI32) std::memcpy(data, value.data, static_cast<size_t>(count) * 4);
  else kernels.dequantize_row(value.type, value.data, reinterpret_cast<float*>(data), count);
  owned_values_.push_back(std::make_unique<Value>(value));
  owned_values_.back()->data = data;
  owned_values_.back()->type = value.type == kTypeI32 ? kTypeI32 : kTypeF32;
  return owned_values_.back().get();
}

void Program::bound_indices(const Instruction& instruction) {
  if (std::strcmp(instruction.op->name, "embed") == 0) bound(*instruction.in[0], *instruction.in[1]);
  if (std::strcmp(instruction.op->name, "take") == 0) bound(*instruction.in[1], *instruction.in[0]);
  if (first_matrix(instruction) == 2 && instruction.in[1] != nullptr && instruction.in[1]->kind == PACOS_VALUE_WEIGHT)
    bound(*instruction.in[1], *instruction.in[2]);   // others come from a route, which Python has proved
}

/* Remember what an input of the step must stay below; check an index that is itself a weight now. */
void Program::bound(const Value& index, const Value& table) {
  if (index.kind == PACOS_VALUE_WEIGHT) {
    const int32_t* numbers = index.integers();
    for (int64_t i = 0; i < index.rows * index.row_width(); i++)
      if (numbers[i] < 0 || numbers[i] >= table.rows) throw int32_t{PACOS_STEP_TOKEN};
  } else if (table.rows >= 0) {
    int64_t& limit = limits_[index.kind - PACOS_VALUE_TOKENS];
    limit = std::min<int64_t>(limit, table.rows);
  } else if (index.kind != PACOS_VALUE_OUTPUTS || table.rows != PACOS_ROWS_TOKENS) {
    throw int32_t{PACOS_STEP_ROWS};   // only outputs are known to stay below the rows of a step
  }
}

/* Bytes of a thread's scratch that multiplying n rows by a matrix takes. */
int64_t Program::matrix_scratch(const Value& w, int64_t n) const {
  if (!widens(w.type)) return kernels.linear_scratch(w.type, w.width, n);
  return widened_offset(w.width, n) + kRowGrain * w.width * 4;
}

/* Make room for the rows and the tasks of products. */
void Program::reserve_matrices(const Instruction& instruction) {
  const size_t first = first_matrix(instruction);
  if (first == 0) return;
  const bool by_expert = first == 2;
  const int64_t rows = most_rows(*instruction.in[0]) * (by_expert ? instruction.out[0]->heads : 1);
  int64_t needed = 0, experts = 1;
  bool seen[kActKinds] = {};
  for (size_t i = first; i < instruction.in.size(); i += 2) {
    const Value& w = *instruction.in[i];
    const int32_t kind = act_kind(w.type, by_expert ? 1 : rows);
    if (!seen[kind]) needed += (by_expert ? expert_stride(*this, w.type, w.width) : act_bytes(kind, w.width)) * rows;
    seen[kind] = true;
    if (by_expert) experts = w.rows;
  }
  acts_bytes_ = std::max(acts_bytes_, needed);
  linear.matrices.reserve(std::max(linear.matrices.capacity(), instruction.out.size() * static_cast<size_t>(experts)));
  if (!by_expert) return;
  const auto most = [](auto& list, int64_t size) { list.resize(std::max(list.size(), static_cast<size_t>(size))); };
  most(this->experts.starts, experts + 1);
  most(this->experts.sorted, rows);
  most(this->experts.places, rows * static_cast<int64_t>(instruction.out.size()));
}

/* Allocate what phases need, so that nothing is allocated during a step. */
void Program::reserve() {
  int64_t scratch = 0, states = 0;
  size_t blocks = 0;
  for (const auto& instruction : instructions_) {
    for (size_t i = first_matrix(instruction); i != 0 && i < instruction.in.size(); i += 2) {
      const Value& w = *instruction.in[i];
      const int64_t rows = most_rows(*instruction.in[0]);
      for (int64_t n = 1; n <= std::min<int64_t>(rows, 32); n++) scratch = std::max(scratch, matrix_scratch(w, n));
      scratch = std::max(scratch, matrix_scratch(w, rows));
    }
    reserve_matrices(instruction);
    const bool crosses = std::strcmp(instruction.op->name, "cross_attention") == 0;
    if (crosses || std::strcmp(instruction.op->name, "attention") == 0) {
      const Value& q = *instruction.in[0];
      const int64_t key_heads = crosses ? static_cast<int64_t>(instruction.attributes[2]) : instruction.in[1]->heads;
      const int64_t width = crosses ? static_cast<int64_t>(instruction.attributes[3]) : instruction.in[2]->width;
      const int64_t group = q.heads / key_heads;
      scratch = std::max(scratch, attention_scratch(page_tokens, q.width, width));
      states = std::max(states, 2 * kBlockQueries * softmax_state_floats(width) * 4);
      blocks = std::max(blocks, static_cast<size_t>(max_tokens * ((group + kBlockQueries - 1) / kBlockQueries)));
      has_attention_ = true;
      has_source_ = has_source_ || crosses || instruction.attributes[6] != 0.0;
    }
    if (std::strcmp(instruction.op->name, "store") == 0) {
      blocks = std::max(blocks, static_cast<size_t>(max_tokens));
      has_attention_ = true;
    }
  }
  states_offset_ = round_up(scratch, 64);
  scratch_bytes_ = round_up(states_offset_ + states, 4096);
  scratch_ = std::make_unique<Memory>(scratch_bytes_ * pool.threads() + 64);
  acts = std::make_unique<Memory>(acts_bytes_ + 64);
  bytes += scratch_bytes_ * pool.threads() + acts_bytes_;
  attention.blocks.reserve(blocks);
  if (has_attention_) {
    partials = std::make_unique<Memory>(kPartialFloats * 4);
    unfinished_count = 4 * pool.threads();
    unfinished = std::make_unique<std::atomic<int32_t>[]>(static_cast<size_t>(unfinished_count));
  }
}

void Program::begin_observing() {
  observed.clear();
  for (const auto& instruction : instructions_) observed.push_back(pacos::begin_observing(instruction));
}

/* ---- running ---- */

bool Program::refuse(int32_t code, int64_t at, int64_t value, int64_t bound) {
  fault = {at, value, bound};
  status_ = code;
  return false;
}

bool Program::accepts(const pacos_step& given) {
  const int64_t T = given.tokens_count, S = given.sequences_count, R = given.outputs_count;
  if (T < 1 || T > max_tokens) return refuse(PACOS_STEP_TOKENS_COUNT, 0, T, int64_t{max_tokens} + 1);
  if (S < 1 || S > T) return refuse(PACOS_STEP_SEQUENCES, 0, S, T + 1);
  if (given.sequence_starts[0] != 0) return refuse(PACOS_STEP_SEQUENCES, 0, given.sequence_starts[0], 1);
  if (given.sequence_starts[S] != T) return refuse(PACOS_STEP_SEQUENCES, S, given.sequence_starts[S], T + 1);
  for (int64_t i = 0; i < T; i++)
    if (given.tokens[i] < 0 || given.tokens[i] >= limits_[0]) return refuse(PACOS_STEP_TOKEN, i, given.tokens[i], limits_[0]);
  for (int64_t i = 0; given.types != nullptr && i < T; i++)
    if (given.types[i] < 0 || given.types[i] >= limits_[3]) return refuse(PACOS_STEP_TYPE, i, given.types[i], limits_[3]);
  for (int64_t s = 0; s < S; s++)
    if (!accepts_sequence(given, s)) return false;
  if (states_of_slots != nullptr && !accepts_slots(given)) return false;
  if (has_source_ && !accepts_sources(given)) return false;
  for (const auto& value : values_)
    if (value.kind == PACOS_VALUE_SCALES && given.scales == nullptr) return refuse(PACOS_STEP_NO_SCALES, 0, 0, value.width);
  if (R < 0 || R > max_tokens) return refuse(PACOS_STEP_OUTPUT, R, R, int64_t{max_tokens} + 1);
  const int64_t rows_bound = std::min(T, limits_[2]);
  for (int64_t i = 0; i < R; i++)
    if (given.outputs[i] < 0 || given.outputs[i] >= rows_bound) return refuse(PACOS_STEP_OUTPUT, i, given.outputs[i], rows_bound);
  return true;
}

bool Program::accepts_slots(const pacos_step& given) {
  if (given.states_from == nullptr || given.states_to == nullptr) return refuse(PACOS_STEP_NO_SLOTS, 0, 0, slots);
  for (int64_t s = 0; s < given.sequences_count; s++)
    for (const int32_t* numbers : {given.states_from, given.states_to})
      if (numbers[s] < 0 || numbers[s] >= slots) return refuse(PACOS_STEP_SLOT, s, numbers[s], slots);
  return true;
}

/* A source lies before all positions of its sequence's part of the step, so that its pages are among those checked. */
bool Program::accepts_sources(const pacos_step& given) {
  if (given.sources == nullptr) return refuse(PACOS_STEP_NO_SOURCES, 0, 0, 0);
  for (int64_t s = 0; s < given.sequences_count; s++) {
    const int64_t first = given.positions[given.sequence_starts[s]];
    if (given.sources[s] < 1 || given.sources[s] > first) return refuse(PACOS_STEP_SOURCE, s, given.sources[s], first);
  }
  return true;
}

bool Program::accepts_sequence(const pacos_step& given, int64_t s) {
  const int64_t begin = given.sequence_starts[s], end = given.sequence_starts[s + 1];
  if (begin < 0 || end <= begin || end > given.tokens_count) return refuse(PACOS_STEP_SEQUENCES, s + 1, end, given.tokens_count + int64_t{1});
  int64_t before = -1;
  for (int64_t i = begin; i < end; i++) {
    const int64_t position = given.positions[i];
    if (position < 0 || position >= limits_[1]) return refuse(PACOS_STEP_POSITION, i, position, limits_[1]);
    if (position <= before) return refuse(PACOS_STEP_ORDER, i, position, before);
    before = position;
  }
  if (!has_attention_) return true;
  const int64_t pages = given.page_table_lengths[s];
  if (before >= pages * page_tokens) return refuse(PACOS_STEP_PAGE_TABLE, s, before, pages * page_tokens);
  for (int64_t i = 0; i <= before / page_tokens; i++) {
    const int32_t page = given.page_tables[s][i];
    if (page < 0 || page >= page_count) return refuse(PACOS_STEP_PAGE, s, page, page_count);
  }
  return true;
}

int32_t Program::run(const pacos_step& given) {
  status_ = 0;
  if (!accepts(given)) return status_;
  step = &given;
  for (auto& value : values_) {
    const int32_t* input = value.kind == PACOS_VALUE_TOKENS      ? given.tokens
                           : value.kind == PACOS_VALUE_POSITIONS ? given.positions
                           : value.kind == PACOS_VALUE_OUTPUTS   ? given.outputs
                           : value.kind == PACOS_VALUE_TYPES     ? given.types != nullptr ? given.types : zeros_.data()
                                                                 : nullptr;
    if (value.kind == PACOS_VALUE_SCALES) value.data = reinterpret_cast<uint8_t*>(const_cast<float*>(given.scales));
    else if (value.kind >= PACOS_VALUE_TOKENS) value.data = reinterpret_cast<uint8_t*>(const_cast<int32_t*>(input));
  }
  at_ = 0;
  phase_ = 0;
  pool.run(*this);
  step = nullptr;
  return status_;
}

int64_t Program::advance(int thread) {
  while (at_ < instructions_.size()) {
    const Instruction& instruction = instructions_[at_];
    if (phase_ == instruction.op->phases) {
      if (!observed.empty()) observe(*this, instruction, observed[at_]);
      if (profiling) seconds[at_] += std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
      at_++;
      phase_ = 0;
      continue;
    }
    if (phase_ == 0) {
      if (cancel.exchange(false, std::memory_order_relaxed)) {
        status_ = PACOS_STEP_CANCELLED;
        return 0;
      }
      if (profiling) started_ = std::chrono::steady_clock::now();
    }
    const int phase = phase_++;
    const Phase work = instruction.op->begin(*this, instruction, phase);
    if (work.tasks > 1 && !serial(work.nanoseconds)) return work.tasks;
    for (int64_t i = 0; i < work.tasks; i++) instruction.op->task(*this, instruction, phase, i, thread);
  }
  return 0;
}

void Program::task(int64_t index, int thread) {
  const Instruction& instruction = instructions_[at_];
  instruction.op->task(*this, instruction, phase_ - 1, index, thread);
}

namespace {

/* The row kernels that go with a table of matrix kernels. */
const RowKernels& rows_for(const Kernels& kernels) {
#if defined(__x86_64__)
  if (std::strncmp(kernels.isa, "avx512", 6) == 0 || std::strcmp(kernels.isa, "amx") == 0) return rows_avx512;
  if (std::strncmp(kernels.isa, "avx", 3) == 0) return rows_avx2;
#elif defined(__aarch64__)
  if (std::strncmp(kernels.isa, "neon", 4) == 0) return rows_neon;
#endif
  (void)kernels;
  return rows_portable;
}

Program* from(pacos_program* program) { return reinterpret_cast<Program*>(program); }
const Program* from(const pacos_program* program) { return reinterpret_cast<const Program*>(program); }

}  // namespace
}  // namespace pacos

using pacos::from;

extern "C" {

const char* pacos_cpu_isa(const char* wanted) {
  const pacos::Kernels* kernels = pacos::find_kernels(wanted);
  return kernels == nullptr ? nullptr : kernels->isa;
}

int32_t pacos_op_code(const char* name) {
  for (int i = 0; i < pacos::kOpCount; i++)
    if (std::strcmp(pacos::kOps[i].name, name) == 0) return i;
  return -1;
}

int32_t pacos_cpu_has_type(int32_t type) { return pacos::format_facts(type) != nullptr; }
int32_t pacos_cpu_stores_type(int32_t type) { return pacos::rows_portable.stored_bytes(type, 32) > 0; }

pacos_program* pacos_program_create(const pacos_plan* plan, pacos_pool* pool, const char* isa, int32_t* code) {
  const pacos::Kernels* kernels = pacos::find_kernels(isa);
  *code = pacos::kNoMemory;
  if (kernels == nullptr) return nullptr;
  try {
    auto* made = new pacos::Program(*plan, *reinterpret_cast<pacos::Pool*>(pool), *kernels, pacos::rows_for(*kernels));
    *code = 0;
    return reinterpret_cast<pacos_program*>(made);
  } catch (int32_t refused) {
    *code = refused;
  } catch (...) {
  }
  return nullptr;
}

void pacos_program_free(pacos_program* program) { delete from(program); }

int32_t pacos_program_run(pacos_program* program, const pacos_step* step, pacos_fault* fault) {
  const int32_t code = from(program)->run(*step);
  *fault = from(program)->fault;
  return code;
}

void pacos_program_cancel(pacos_program* program) { from(program)->cancel.store(true); }

const float* pacos_program_result(const pacos_program* program) { return from(program)->result().row(0); }

int64_t pacos_program_bytes(const pacos_program* program) { return from(program)->bytes; }

void pacos_program_profile(pacos_program* program, int32_t on) {
  from(program)->profiling = on != 0;
  if (on != 0) std::fill(from(program)->seconds.begin(), from(program)->seconds.end(), 0.0);
}

void pacos_program_seconds(const pacos_program* program, double* seconds) {
  std::copy(from(program)->seconds.begin(), from(program)->seconds.end(), seconds);
}

int32_t pacos_program_observe(pacos_program* program, int32_t on) {
  try {
    if (on != 0) from(program)->begin_observing();
    else from(program)->observed.clear();
  } catch (...) {
    from(program)->observed.clear();
    return pacos::kNoMemory;
  }
  return 0;
}

void pacos_program_squares(const pacos_program* program, int32_t instruction, double* sums, int64_t* rows) {
  const pacos::Observed& seen = from(program)->observed[static_cast<size_t>(instruction)];
  std::copy(seen.sums.begin(), seen.sums.end(), sums);
  std::copy(seen.rows.begin(), seen.rows.end(), rows);
}
}
