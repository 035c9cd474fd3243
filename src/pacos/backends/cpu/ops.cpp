// The ops that a program can run: how each divides into tasks. The arithmetic is in rows.hpp, attention.hpp, linear.hpp.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/experts.hpp"
#include "backends/cpu/program.hpp"
#include "backends/cpu/recurrent_ops.hpp"

namespace pacos {
namespace {

int64_t at_least_one(int64_t n) { return n < 1 ? 1 : n; }
int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

/* ---- ops whose rows are independent ---- */

constexpr int64_t kSegment = 4096;          // columns of a task where columns are independent too; a multiple of 16
constexpr double kTaskNanoseconds = 3000;

Phase begin_rows(Program& program, const Instruction& instruction) {
  const Value& y = *instruction.out[0];
  RowState& state = program.row_state;
  state.rows = program.rows_of(y);
  const int64_t width = y.row_width();
  const double cost = static_cast<double>(width) * instruction.op->row_cost + 10;
  const double total = cost * static_cast<double>(state.rows);
  const bool whole = program.serial(total);
  state.segment = !whole && instruction.op->splits ? kSegment : width;
  state.segments = pieces(width, state.segment);
  const int64_t fair = at_least_one(state.rows / (2 * program.pool.threads()));
  state.rows_per_task = whole ? state.rows : std::clamp<int64_t>(static_cast<int64_t>(kTaskNanoseconds / cost), 1, fair);
  return {pieces(state.rows, at_least_one(state.rows_per_task)) * state.segments, total};
}

void run_rows(Program& program, const Instruction& instruction, int64_t index) {
  const RowState& state = program.row_state;
  const int64_t width = instruction.out[0]->row_width(), segment = index % state.segments;
  const Columns columns = {segment * state.segment, std::min((segment + 1) * state.segment, width)};
  const int64_t first = index / state.segments * state.rows_per_task;
  for (int64_t row = first; row < std::min(first + state.rows_per_task, state.rows); row++)
    instruction.op->row(program, instruction, row, columns);
}

/* An operand's row: a single row serves all, as a bias does. */
const float* operand_row(Program& program, const Value& value, int64_t row) {
  return value.row(program.rows_of(value) == 1 ? 0 : row);
}

template <auto kernel>
void unary(Program& program, const Instruction& instruction, int64_t row, Columns columns) {
  const float* x = instruction.in[0]->row(row) + columns.begin;
  (program.rows.*kernel)(x, instruction.out[0]->row(row) + columns.begin, columns.end - columns.begin);
}

template <auto kernel>
void with_number(Program& program, const Instruction& instruction, int64_t row, Columns columns) {
  const float* x = instruction.in[0]->row(row) + columns.begin;
  const float number = static_cast<float>(instruction.attributes[0]);
  (program.rows.*kernel)(x, number, instruction.out[0]->row(row) + columns.begin, columns.end - columns.begin);
}

/* The second operand has rows as wide as the first one's, or one head's worth for every head. */
template <auto kernel>
void binary(Program& program, const Instruction& instruction, int64_t row, Columns columns) {
  const Value& b = *instruction.in[1];
  const float* x = instruction.in[0]->row(row);
  float* y = instruction.out[0]->row(row);
  const float* other = operand_row(program, b, row);
  if (b.row_width() == instruction.out[0]->row_width()) {
    (program.rows.*kernel)(x + columns.begin, other + columns.begin, y + columns.begin, columns.end - columns.begin);
    return;
  }
  for (int64_t i = pieces(columns.begin, b.width) * b.width; i < columns.end; i += b.width)   // heads that begin here
    (program.rows.*kernel)(x + i, other, y + i, b.width);
}

/* A head's part of a weight or bias that has one number for each of a head, or for each of all heads; null for none. */
const float* head_part(const Value* vector, int64_t head, int64_t width) {
  if (vector == nullptr) return nullptr;
  const bool whole = int64_t{vector->rows} * vector->row_width() != width;
  return reinterpret_cast<const float*>(vector->data) + (whole ? head * width : 0);
}

void rms_norm(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const Value& x = *instruction.in[0];
  const float eps = static_cast<float>(instruction.attributes[0]);
  for (int64_t h = 0; h < x.heads; h++)
    program.rows.rms_norm(x.row(row) + h * x.width, head_part(instruction.in[1], h, x.width),
                          instruction.out[0]->row(row) + h * x.width, x.width, eps);
}

void l2_norm(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const Value& x = *instruction.in[0];
  const float eps = static_cast<float>(instruction.attributes[0]);
  for (int64_t h = 0; h < x.heads; h++)
    program.rows.l2_norm(x.row(row) + h * x.width, instruction.out[0]->row(row) + h * x.width, x.width, eps);
}

void lerp(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const Value &x = *instruction.in[0], &share = *instruction.in[2];
  const bool table = share.kind == PACOS_VALUE_WEIGHT && share.rows != x.rows;
  const auto* shares = reinterpret_cast<const float*>(share.data) + static_cast<int64_t>(instruction.attributes[0]) * x.row_width();
  program.rows.lerp(x.row(row), instruction.in[1]->row(row), table ? shares : share.row(row), instruction.out[0]->row(row),
                    x.row_width());
}

void head_bonus(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const Value &r = *instruction.in[0], &k = *instruction.in[1], &v = *instruction.in[2];
  const auto* u = reinterpret_cast<const float*>(instruction.in[3]->data);
  float* y = instruction.out[0]->row(row);
  for (int64_t i = 0; i < r.row_width(); i += r.width)
    program.rows.head_bonus(r.row(row) + i, k.row(row) + i, u + i, v.row(row) + i, y + i, r.width);
}

void scale_heads(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const Value &x = *instruction.in[0], &numbers = *instruction.in[1];
  const bool by_row = numbers.rows == x.rows && numbers.row_width() == x.heads;
  const auto* factors = by_row ? numbers.row(row) : reinterpret_cast<const float*>(numbers.data);
  for (int64_t h = 0; h < x.heads; h++)
    program.rows.scale(x.row(row) + h * x.width, factors[h], instruction.out[0]->row(row) + h * x.width, x.width);
}

/* The columns of `scales` are adapters. */
void scale_rows(Program& program, const Instruction& instruction, int64_t row, Columns columns) {
  const float number = instruction.in[1]->row(row)[static_cast<int64_t>(instruction.attributes[1])] * static_cast<float>(instruction.attributes[0]);
  program.rows.scale(instruction.in[0]->row(row) + columns.begin, number, instruction.out[0]->row(row) + columns.begin,
                     columns.end - columns.begin);
}

void layer_norm(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const Value& x = *instruction.in[0];
  const float eps = static_cast<float>(instruction.attributes[0]);
  for (int64_t h = 0; h < x.heads; h++)
    program.rows.layer_norm(x.row(row) + h * x.width, head_part(instruction.in[1], h, x.width),
                            head_part(instruction.in[2], h, x.width), instruction.out[0]->row(row) + h * x.width, x.width, eps);
}

/* Functions of one number, exact or of libm's precision: the compiler's own vectors serve. */
template <class F>
void each_number(const Instruction& instruction, int64_t row, Columns columns, F f) {
  const float* x = instruction.in[0]->row(row);
  float* y = instruction.out[0]->row(row);
  for (int64_t i = columns.begin; i < columns.end; i++) y[i] = f(x[i]);
}

void relu(Program&, const Instruction& instruction, int64_t row, Columns columns) {
  each_number(instruction, row, columns, [](float x) { return x > 0 ? x : 0.0f; });
}

void relu_squared(Program&, const Instruction& instruction, int64_t row, Columns columns) {
  each_number(instruction, row, columns, [](float x) { return x > 0 ? x * x : 0.0f; });
}

void clip(Program&, const Instruction& instruction, int64_t row, Columns columns) {
  const float limit = static_cast<float>(instruction.attributes[0]);
  each_number(instruction, row, columns, [limit](float x) { return x > limit ? limit : x < -limit ? -limit : x; });
}

void magnitude(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const Value& x = *instruction.in[0];
  instruction.out[0]->row(row)[0] = std::sqrt(program.rows.dot(x.row(row), x.row(row), x.width) / static_cast<float>(x.width));
}

void gaussian_top(Program&, const Instruction& instruction, int64_t row, Columns) {
  const Value& value = *instruction.in[0];
  const float* x = value.row(row);
  float* y = instruction.out[0]->row(row);
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < value.width; i++) sum += x[i];
  const double mean = sum / static_cast<double>(value.width);
  for (int64_t i = 0; i < value.width; i++) squares += (x[i] - mean) * (x[i] - mean);
  const double least = mean + std::sqrt(squares / static_cast<double>(value.width)) * instruction.attributes[0];
  for (int64_t i = 0; i < value.width; i++) y[i] = std::max(x[i] - static_cast<float>(least), 0.0f);
}

void xielu(Program&, const Instruction& instruction, int64_t row, Columns columns) {
  const auto number = [&](int i) { return static_cast<float>(instruction.attributes[i]); };
  const float rise = number(0), fall = number(1), slope = number(2), most = number(3);
  each_number(instruction, row, columns, [=](float x) {
    return (x > 0 ? rise * x * x : fall * (std::expm1(std::min(x, most)) - x)) + slope * x;
  });
}

void rope_angles(Program&, const Instruction& instruction, int64_t row, Columns) {
  const double position = instruction.in[0]->integers()[row], magnitude = instruction.attributes[0];
  const float* factors = instruction.in[1] != nullptr ? instruction.in[1]->row(0) : nullptr;
  float* y = instruction.out[0]->row(row);
  const int64_t pairs = instruction.out[0]->width / 2;
  for (int64_t i = 0; i < pairs; i++) {
    const double frequency = factors != nullptr ? instruction.table[i] / factors[i] : instruction.table[i];
    y[i] = static_cast<float>(std::cos(position * frequency) * magnitude);
    y[pairs + i] = static_cast<float>(std::sin(position * frequency) * magnitude);
  }
}

void rotate(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const Value &x = *instruction.in[0], &angles = *instruction.in[1];
  const auto kernel = instruction.attributes[0] != 0 ? program.rows.rotate_halves : program.rows.rotate_pairs;
  for (int64_t h = 0; h < x.heads; h++)
    kernel(x.row(row) + h * x.width, angles.row(row), instruction.out[0]->row(row) + h * x.width, x.width,
           angles.width / 2);
}

/* Some columns of every head, and heads joined with others, of which one may serve all. */
void part(Program&, const Instruction& instruction, int64_t row, Columns) {
  const Value& x = *instruction.in[0];
  Value& y = *instruction.out[0];
  const float* from = x.row(row) + static_cast<int64_t>(instruction.attributes[0]);
  for (int64_t h = 0; h < x.heads; h++)
    std::memcpy(y.row(row) + h * y.width, from + h * x.width, static_cast<size_t>(y.width) * 4);
}

void join(Program&, const Instruction& instruction, int64_t row, Columns) {
  const Value &a = *instruction.in[0], &b = *instruction.in[1];
  Value& y = *instruction.out[0];
  for (int64_t h = 0; h < a.heads; h++) {
    float* to = y.row(row) + h * y.width;
    std::memcpy(to, a.row(row) + h * a.width, static_cast<size_t>(a.width) * 4);
    std::memcpy(to + a.width, b.row(row) + (b.heads == 1 ? 0 : h) * b.width, static_cast<size_t>(b.width) * 4);
  }
}

void temper(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const double position = instruction.in[1]->integers()[row], length = instruction.attributes[0];
  const double factor = 1 + instruction.attributes[1] * std::log1p(std::floor((position + instruction.attributes[2]) / length));
  const Value& x = *instruction.in[0];
  program.rows.scale(x.row(row), static_cast<float>(factor), instruction.out[0]->row(row), x.row_width());
}

void clamped_silu_mul(Program& program, const Instruction& instruction, int64_t row, Columns columns) {
  const double* given = instruction.attributes;   // alpha, limit
  program.rows.clamped_silu_mul(instruction.in[0]->row(row) + columns.begin, instruction.in[1]->row(row) + columns.begin,
                                static_cast<float>(given[0]), static_cast<float>(given[1]),
                                instruction.out[0]->row(row) + columns.begin, columns.end - columns.begin);
}

void embed(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const Value& table = *instruction.in[1];
  const int64_t picked = instruction.in[0]->integers()[row];
  program.kernels.dequantize_row(table.type, table.data + picked * type_row_bytes(table.type, table.width),
                                 instruction.out[0]->row(row), table.width);
}

void copy_row(const Value& from, int64_t row, Value& to, int64_t target, Columns columns) {
  std::memcpy(to.row(target) + columns.begin, from.row(row) + columns.begin,
              static_cast<size_t>(columns.end - columns.begin) * 4);
}

void take(Program&, const Instruction& instruction, int64_t row, Columns columns) {
  copy_row(*instruction.in[0], instruction.in[1]->integers()[row], *instruction.out[0], row, columns);
}

void copy(Program&, const Instruction& instruction, int64_t row, Columns columns) {
  copy_row(*instruction.in[0], row, *instruction.out[0], row, columns);
}

/* ---- linear and linears: operands x, then weight and bias in turn ---- */

/* Phase 0: quantise x once for each kind of activation that the weights want; tasks are rows. */
Phase begin_quantise(Program& program, const Instruction& instruction) {
  LinearState& state = program.linear;
  const Value& x = *instruction.in[0];
  const int64_t K = x.width, n = program.rows_of(x);
  int64_t offset = 0;
  double cost = 0;
  state.kind_count = 0;
  for (size_t i = 1; i < instruction.in.size(); i += 2) {
    const int kind = program.act_kind(instruction.in[i]->type, n);
    if (std::find(state.kinds, state.kinds + state.kind_count, kind) != state.kinds + state.kind_count) continue;
    const int slot = state.kind_count++;
    state.kinds[slot] = kind;
    if (kind == ACT_F32 && K % 16 == 0 && x.stride % 16 == 0 && reinterpret_cast<uintptr_t>(x.data) % 64 == 0) {
      state.acts[slot] = x.data;
      state.act_stride[slot] = x.stride * 4;
      continue;
    }
    state.acts[slot] = program.acts->data() + offset;
    state.act_stride[slot] = act_bytes(kind, K);
    offset += state.act_stride[slot] * n;
    cost += static_cast<double>(K * n) * 0.15;
  }
  return {cost > 0 ? n : 0, cost};
}

void quantise_row(Program& program, const Instruction& instruction, int64_t row) {
  const LinearState& state = program.linear;
  const Value& x = *instruction.in[0];
  for (int slot = 0; slot < state.kind_count; slot++) {
    if (state.acts[slot] == x.data) continue;
    program.kernels.quantize_row(state.kinds[slot], x.row(row), x.width,
                                 state.acts[slot] + row * state.act_stride[slot]);
  }
}

/* Phase 1: row panels of all matrices. */
Phase begin_panels(Program& program, const Instruction& instruction) {
  LinearState& state = program.linear;
  const Value& x = *instruction.in[0];
  const int64_t n = program.rows_of(x);
  state.matrices.clear();
  if (n == 0) return {0, 0};
  double cost = 0;
  int64_t weight_bytes = 0;
  for (size_t i = 1; i < instruction.in.size(); i += 2) {
    const Value &w = *instruction.in[i], *bias = instruction.in[i + 1];
    Value& y = *instruction.out[(i - 1) / 2];
    const int kind = program.act_kind(w.type, n);
    const auto slot = std::find(state.kinds, state.kinds + state.kind_count, kind) - state.kinds;
    const int64_t row_bytes = type_row_bytes(w.type, w.width);
    state.matrices.push_back({{w.data, w.type, w.rows, w.width, row_bytes, state.acts[slot], state.act_stride[slot], n,
                               y.row(0), y.stride, bias != nullptr ? bias->row(0) : nullptr},
                              0, 0});
    cost += static_cast<double>(int64_t{w.rows} * w.width) * (0.03 + 0.01 * static_cast<double>(n));
    weight_bytes += w.rows * row_bytes;
  }
  return split_matrices(program, cost, weight_bytes);
}

/* Exact activations: a few quantised rows at a time become f32 in scratch, where the f32 kernel reads them. */
void multiply_widened(Program& program, const LinearArgs& args, int64_t begin, int64_t end, uint8_t* scratch) {
  const int64_t K = args.columns;
  float* rows = reinterpret_cast<float*>(scratch + program.widened_offset(K, args.n));
  LinearArgs widened = args;
  widened.weights = reinterpret_cast<const uint8_t*>(rows);
  widened.type = kTypeF32;
  widened.row_bytes = K * 4;
  for (int64_t first = begin; first < end; first += kRowGrain) {
    widened.rows = std::min(kRowGrain, end - first);
    for (int64_t r = 0; r < widened.rows; r++)
      program.kernels.dequantize_row(args.type, args.weights + (first + r) * args.row_bytes, rows + r * K, K);
    widened.y = args.y + first;
    widened.bias = args.bias != nullptr ? args.bias + first : nullptr;
    program.kernels.linear(widened, 0, widened.rows, scratch);
  }
}

}  // namespace

Phase split_matrices(Program& program, double cost, int64_t weight_bytes) {
  LinearState& state = program.linear;
  const int64_t threads = program.pool.threads();
  const int64_t share = std::clamp<int64_t>(weight_bytes / (16 * threads), 16 << 10, 128 << 10);
  int64_t tasks = 0, rows = 0, panel = 64;
  for (const auto& matrix : state.matrices) rows += matrix.args.rows;
  while (panel > kRowGrain && rows < 4 * threads * panel) panel /= 2;
  for (auto& matrix : state.matrices) {
    matrix.first_task = tasks;
    if (matrix.args.n > 8) matrix.rows_per_task = panel;
    else if (program.serial(cost)) matrix.rows_per_task = matrix.args.rows;
    else matrix.rows_per_task = at_least_one(share / matrix.args.row_bytes / kRowGrain) * kRowGrain;
    tasks += pieces(matrix.args.rows, matrix.rows_per_task);
  }
  return {tasks, cost};
}

void multiply(Program& program, int64_t index, int thread) {
  const auto& matrices = program.linear.matrices;
  const auto after = std::upper_bound(matrices.begin(), matrices.end(), index, [](int64_t task, const LinearState::Matrix& matrix) {
    return task < matrix.first_task;
  });
  const auto& matrix = *(after - 1);
  const int64_t begin = (index - matrix.first_task) * matrix.rows_per_task;
  const int64_t end = std::min(begin + matrix.rows_per_task, matrix.args.rows);
  if (program.widens(matrix.args.type)) multiply_widened(program, matrix.args, begin, end, program.scratch(thread));
  else program.kernels.linear(matrix.args, begin, end, program.scratch(thread));
}

namespace {

Phase begin_linear(Program& program, const Instruction& instruction, int phase) {
  return phase == 0 ? begin_quantise(program, instruction) : begin_panels(program, instruction);
}

void run_linear(Program& program, const Instruction& instruction, int phase, int64_t index, int thread) {
  if (phase == 0) quantise_row(program, instruction, index);
  else multiply(program, index, thread);
}

/* ---- attention: append, then attend ---- */

/* Arguments that say where keys and values of a layer lie, all others 0. */
AttentionArgs layer_args(const Program& program, double number) {
  const Layer& layer = program.layers[static_cast<size_t>(number)];
  AttentionArgs args{};
  args.keys = layer.keys, args.values = layer.values;
  args.key_page_bytes = layer.key_page_bytes, args.value_page_bytes = layer.value_page_bytes;
  args.page_tokens = program.page_tokens, args.key_type = program.type_k, args.value_type = program.type_v;
  return args;
}

void set_queries(AttentionArgs& args, const Value& q, Value& y, double scale) {
  args.q = q.row(0), args.q_stride = q.stride, args.heads = q.heads;
  args.y = y.row(0), args.y_stride = y.stride, args.scale = static_cast<float>(scale);
}

void set_keys(AttentionArgs& args, const Value& k, const Value& v) {
  args.k = k.row(0), args.k_stride = k.stride, args.key_heads = k.heads, args.key_width = k.width;
  args.v = v.row(0), args.v_stride = v.stride, args.value_width = v.width;
}

AttentionArgs attention_args(const Program& program, const Instruction& instruction) {
  const double* numbers = instruction.attributes;   // layer, scale, window, softcap, bidirectional, chunk, after_source, reach
  AttentionArgs args = layer_args(program, numbers[0]);
  set_queries(args, *instruction.in[0], *instruction.out[0], numbers[1]);
  set_keys(args, *instruction.in[1], *instruction.in[2]);
  args.window = static_cast<int32_t>(numbers[2]), args.softcap = static_cast<float>(numbers[3]);
  args.bidirectional = numbers[4] != 0.0, args.chunk = static_cast<int32_t>(numbers[5]);
  args.sinks = instruction.in[3] != nullptr ? instruction.in[3]->row(0) : nullptr;
  args.slopes = instruction.biases == nullptr ? instruction.table : nullptr;
  args.after_source = numbers[6] != 0.0;
  args.biases = instruction.biases, args.reach = static_cast<int32_t>(numbers[7]);
  return args;
}

/* Divide the rows of the step into blocks of queries, by the arguments that are set. */
void fill_blocks(Program& program) {
  AttentionState& state = program.attention;
  const AttentionArgs& args = state.args;
  const int32_t group = args.heads / args.key_heads;
  const pacos_step& step = *program.step;
  state.blocks.clear();
  state.appends = true;
  for (int32_t s = step.sequences_count - 1; s >= 0; s--) {   // the last queries have the most keys: longest first
    const int32_t first = step.sequence_starts[s];
    const int32_t queries = (step.sequence_starts[s + 1] - first) * group;
    const int32_t last = step.positions[step.sequence_starts[s + 1] - 1];
    const auto size = static_cast<int32_t>(kBlockQueries);
    for (int32_t begin = (queries - 1) / size * size; begin >= 0; begin -= size) {
      const QueryBlock block = {step.positions + first, step.page_tables[s], first, 0, begin, std::min(begin + size, queries), last,
                                step.sources != nullptr ? step.sources[s] : 0};
      state.blocks.push_back({block, 0, 0, 0});
      program.rows.chunks(args, block, &state.blocks.back().chunk_begin, &state.blocks.back().chunk_end);
    }
    state.appends = state.appends && queries <= size;
  }
}

/* Split long sequences over threads by chunks when there are too few blocks to go round. */
void split_chunks(Program& program) {
  AttentionState& state = program.attention;
  const int64_t threads = program.pool.threads(), heads = state.args.key_heads;
  const auto items = static_cast<int64_t>(state.blocks.size()) * heads;
  state.segments = 1;
  if (items >= 4 * threads || items > program.unfinished_count || program.serial(state.nanoseconds)) return;
  int64_t longest = 0, floats = 0;
  for (auto& block : state.blocks) {
    const int64_t chunks = block.chunk_end - block.chunk_begin;
    longest = std::max(longest, chunks);
    block.partial = floats;
    floats += heads * chunks * (block.block.query_end - block.block.query_begin) * softmax_state_floats(state.args.value_width);
  }
  if (longest < 2 || floats > kPartialFloats) return;
  state.segments = std::min(longest, pieces(4 * threads, items));
  if (state.segments == 1) return;
  state.appends = false;
  for (int64_t i = 0; i < items; i++) program.unfinished[static_cast<size_t>(i)].store(static_cast<int32_t>(state.segments));
}

/* Lay out the tasks of an attention; gives what storing the step's keys and values takes. */
double divide_attention(Program& program, const AttentionArgs& args) {
  AttentionState& state = program.attention;
  state.args = args;
  fill_blocks(program);
  double work = 0, rows = 0;
  for (const auto& block : state.blocks) {
    const auto chunks = static_cast<double>(block.chunk_end - block.chunk_begin);
    work += chunks * kChunkKeys * static_cast<double>(block.block.query_end - block.block.query_begin + 2);
    rows += static_cast<double>(block.block.query_end - block.block.query_begin);
  }
  const double width = static_cast<double>(state.args.key_width + state.args.value_width) * state.args.key_heads;
  state.nanoseconds = work * width * 0.03;
  split_chunks(program);
  return rows * width * 0.5;
}

Phase begin_append(Program& program, const Instruction& instruction) {
  const double nanoseconds = divide_attention(program, attention_args(program, instruction));
  const AttentionState& state = program.attention;
  if (state.appends) return {0, 0};
  return {static_cast<int64_t>(state.blocks.size()) * state.args.key_heads, nanoseconds};
}

/* Rows whose first query lies in the block. */
void append_block(Program& program, const QueryBlock& whole) {
  const AttentionArgs& args = program.attention.args;
  const int32_t group = args.heads / args.key_heads;
  const int32_t first = (whole.query_begin + group - 1) / group, last = (whole.query_end + group - 1) / group;
  QueryBlock block = whole;
  block.first_row += first;
  block.positions += first;
  program.rows.append(args, block, last - first);
}

QueryBlock block_of(const AttentionState& state, int64_t item) {
  QueryBlock block = state.blocks[static_cast<size_t>(item / state.args.key_heads)].block;
  block.key_head = static_cast<int32_t>(item % state.args.key_heads);
  return block;
}

/* All chunks of a block in order, on one thread. */
void attend_block(Program& program, int64_t item, int thread) {
  const AttentionState& state = program.attention;
  const QueryBlock block = block_of(state, item);
  const auto& extent = state.blocks[static_cast<size_t>(item / state.args.key_heads)];
  const int64_t size = softmax_state_floats(state.args.value_width), queries = block.query_end - block.query_begin;
  float *sum = program.states(thread, size, 0), *next = program.states(thread, size, 1);
  if (state.appends) append_block(program, block);
  for (int64_t chunk = extent.chunk_begin; chunk < extent.chunk_end; chunk++) {
    const bool first = chunk == extent.chunk_begin;
    program.rows.attend(state.args, block, chunk, first ? sum : next, program.scratch(thread));
    if (!first) program.rows.merge(sum, next, queries, state.args.value_width);
  }
  program.rows.finish(state.args, block, sum);
}

/* Some chunks of a block into the shared buffer; whoever is last merges all of them in order. */
void attend_segment(Program& program, int64_t item, int64_t segment, int thread) {
  const AttentionState& state = program.attention;
  const QueryBlock block = block_of(state, item);
  const auto& extent = state.blocks[static_cast<size_t>(item / state.args.key_heads)];
  const int64_t chunks = extent.chunk_end - extent.chunk_begin, queries = block.query_end - block.query_begin;
  const int64_t floats = queries * softmax_state_floats(state.args.value_width);
  float* partials = program.partials->floats() + extent.partial + block.key_head * chunks * floats;
  for (int64_t i = chunks * segment / state.segments; i < chunks * (segment + 1) / state.segments; i++)
    program.rows.attend(state.args, block, extent.chunk_begin + i, partials + i * floats, program.scratch(thread));
  if (program.unfinished[static_cast<size_t>(item)].fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  for (int64_t i = 1; i < chunks; i++)
    program.rows.merge(partials, partials + i * floats, queries, state.args.value_width);
  program.rows.finish(state.args, block, partials);
}

Phase attend_phase(const AttentionState& state) {
  return {static_cast<int64_t>(state.blocks.size()) * state.args.key_heads * state.segments, state.nanoseconds};
}

void attend_item(Program& program, int64_t index, int thread) {
  const AttentionState& state = program.attention;
  if (state.segments == 1) attend_block(program, index, thread);
  else attend_segment(program, index / state.segments, index % state.segments, thread);
}

Phase begin_attention(Program& program, const Instruction& instruction, int phase) {
  return phase == 0 ? begin_append(program, instruction) : attend_phase(program.attention);
}

void run_attention(Program& program, const Instruction&, int phase, int64_t index, int thread) {
  if (phase == 0) append_block(program, block_of(program.attention, index));
  else attend_item(program, index, thread);
}

/* ---- keys and values of a source: stored by one program, attended to by another ---- */

Phase begin_store(Program& program, const Instruction& instruction, int) {
  AttentionState& state = program.attention;
  state.args = layer_args(program, instruction.attributes[0]);
  set_keys(state.args, *instruction.in[0], *instruction.in[1]);
  state.args.heads = state.args.key_heads;
  fill_blocks(program);
  const double numbers = static_cast<double>(state.args.key_width + state.args.value_width) * state.args.key_heads;
  return {static_cast<int64_t>(state.blocks.size()) * state.args.key_heads, numbers * program.step->tokens_count * 0.5};
}

void run_store(Program& program, const Instruction&, int, int64_t index, int) {
  append_block(program, block_of(program.attention, index));
}

Phase begin_cross(Program& program, const Instruction& instruction, int) {
  const double* numbers = instruction.attributes;   // layer, scale, key_heads, value_width
  const Value& q = *instruction.in[0];
  AttentionArgs args = layer_args(program, numbers[0]);
  set_queries(args, q, *instruction.out[0], numbers[1]);
  args.key_heads = static_cast<int32_t>(numbers[2]), args.key_width = q.width;
  args.value_width = static_cast<int32_t>(numbers[3]), args.source_alone = true;
  divide_attention(program, args);
  program.attention.appends = false;
  return attend_phase(program.attention);
}

void run_cross(Program& program, const Instruction&, int, int64_t index, int thread) { attend_item(program, index, thread); }

Phase begin_any(Program& program, const Instruction& instruction, int) { return begin_rows(program, instruction); }
void run_any(Program& program, const Instruction& instruction, int, int64_t index, int) {
  run_rows(program, instruction, index);
}

constexpr Op rows_op(const char* name, double cost, bool splits, void (*row)(Program&, const Instruction&, int64_t, Columns)) {
  return {name, cost, splits, row, 1, begin_any, run_any};
}

}  // namespace

const Op kOps[] = {
    rows_op("embed", 0.5, false, embed),
    rows_op("take", 0.1, true, take),
    rows_op("copy", 0.1, true, copy),
    rows_op("add", 0.1, true, binary<&RowKernels::add>),
    rows_op("mul", 0.1, true, binary<&RowKernels::mul>),
    rows_op("scale", 0.1, true, with_number<&RowKernels::scale>),
    rows_op("silu", 0.6, true, unary<&RowKernels::silu>),
    rows_op("gelu", 1.0, true, unary<&RowKernels::gelu>),
    rows_op("gelu_tanh", 0.7, true, unary<&RowKernels::gelu_tanh>),
    rows_op("silu_mul", 0.6, true, binary<&RowKernels::silu_mul>),
    rows_op("gelu_mul", 1.0, true, binary<&RowKernels::gelu_mul>),
    rows_op("gelu_tanh_mul", 0.7, true, binary<&RowKernels::gelu_tanh_mul>),
    rows_op("softcap", 1.0, true, with_number<&RowKernels::softcap>),
    rows_op("relu", 0.1, true, relu),
    rows_op("relu_squared", 0.1, true, relu_squared),
    rows_op("magnitude", 0.1, false, magnitude),
    rows_op("gaussian_top", 3.0, false, gaussian_top),
    rows_op("clip", 0.1, true, clip),
    rows_op("xielu", 8.0, true, xielu),
    rows_op("rms_norm", 0.25, false, rms_norm),
    rows_op("lerp", 0.15, false, lerp),
    rows_op("head_bonus", 0.2, false, head_bonus),
    rows_op("scale_heads", 0.1, false, scale_heads),
    rows_op("scale_rows", 0.1, true, scale_rows),
    rows_op("sigmoid", 0.6, true, unary<&RowKernels::sigmoid>),
    rows_op("softplus", 1.0, true, unary<&RowKernels::softplus>),
    rows_op("exp", 0.5, true, unary<&RowKernels::exp>),
    rows_op("l2_norm", 0.25, false, l2_norm),
    rows_op("layer_norm", 0.4, false, layer_norm),
    rows_op("rope_angles", 30, false, rope_angles),
    rows_op("rotate", 0.5, false, rotate),
    rows_op("part", 0.1, false, part),
    rows_op("join", 0.1, false, join),
    rows_op("temper", 0.2, false, temper),
    rows_op("clamped_silu_mul", 0.8, true, clamped_silu_mul),
    rows_op("route", 200, false, route),
    rows_op("weigh", 0.5, true, weigh),
    rows_op("project_once", 0.2, false, project_once),
    {"expert_linear", 0, false, nullptr, 2, begin_experts, run_experts},
    {"expert_linears", 0, false, nullptr, 2, begin_experts, run_experts},
    {"linear", 0, false, nullptr, 2, begin_linear, run_linear},
    {"linears", 0, false, nullptr, 2, begin_linear, run_linear},
    {"attention", 0, false, nullptr, 2, begin_attention, run_attention},
    {"store", 0, false, nullptr, 1, begin_store, run_store},
    {"cross_attention", 0, false, nullptr, 1, begin_cross, run_cross},
    recurrent_op<conv_form, &RowKernels::short_conv>("short_conv"),
    recurrent_op<before_form, &RowKernels::token_before>("token_before"),
    recurrent_op<selective_form, &RowKernels::selective_scan>("selective_scan"),
    recurrent_op<grouped_form, &RowKernels::grouped_scan>("grouped_scan"),
    recurrent_op<delta_form, &RowKernels::delta_rule>("delta_rule"),
    recurrent_op<wkv_form, &RowKernels::wkv6>("wkv6"),
    recurrent_op<wkv_form, &RowKernels::wkv7>("wkv7"),
};
const int kOpCount = static_cast<int>(sizeof kOps / sizeof kOps[0]);

}  // namespace pacos
