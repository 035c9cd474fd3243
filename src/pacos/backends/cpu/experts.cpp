// Mixtures of experts: see experts.hpp.
#include "backends/cpu/experts.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace pacos {
namespace {

constexpr int kExpertsMax = 1024;   // operands.py refuses more
constexpr double kLowest = -std::numeric_limits<double>::infinity();

constexpr double kMixedShare = 0.02;   // moe.py

enum Score { kSoftmax = 0, kSigmoid = 1, kSoftmaxOfChosen = 2, kSparseMixer = 3 };

void softmax(double* x, int n) {
  const double top = *std::max_element(x, x + n);
  double sum = 0;
  for (int i = 0; i < n; i++) sum += x[i] = std::exp(x[i] - top);
  for (int i = 0; i < n; i++) x[i] /= sum;
}

/* The largest of those not taken, of equal ones the first; it is one of them even when none is a number. */
int take_best(const double* x, int n, bool* taken) {
  int best = -1;
  for (int i = 0; i < n; i++)
    if (!taken[i] && (best < 0 || x[i] > x[best])) best = i;
  taken[best] = true;
  return best;
}

/* Mark the members of all groups but the best ones as taken. */
void drop_groups(const double* ranks, int experts, int groups, int used, int members, bool* taken) {
  double scores[kExpertsMax];
  bool kept[kExpertsMax] = {}, counted[kExpertsMax] = {};
  const int size = experts / groups;
  for (int g = 0; g < groups; g++) {
    scores[g] = 0;
    for (int i = 0; i < members; i++) scores[g] += ranks[g * size + take_best(ranks + g * size, size, counted + g * size)];
  }
  for (int i = 0; i < used; i++) take_best(scores, groups, kept);
  for (int i = 0; i < experts; i++) taken[i] = !kept[i / size];
}

/* The share of each one chosen among those that come near it, the ones chosen before left out. */
void mix_sparsely(const double* scores, int experts, const int32_t* chosen, int used, double* weights) {
  bool left_out[kExpertsMax] = {};
  for (int u = 0; u < used; u++) {
    const double best = scores[chosen[u]];
    double sum = 0;
    for (int i = 0; i < experts; i++)
      if (!left_out[i] && !((best - scores[i]) / std::max(std::fabs(scores[i]), best) > kMixedShare)) sum += std::exp(scores[i] - best);
    weights[u] = 1 / sum;
    left_out[chosen[u]] = true;
  }
}

/* Group slots by expert, keeping their order. */
void sort_slots(Program& program, const Instruction& instruction, int64_t rows) {
  ExpertState& state = program.experts;
  const Value *chosen = instruction.in[1], &y = *instruction.out[0];
  const int64_t slots = y.heads, experts = instruction.in[2]->rows;
  std::fill(state.starts.begin(), state.starts.begin() + experts + 1, 0);
  for (int64_t t = 0; t < rows; t++)
    for (int64_t u = 0; u < slots; u++) state.starts[static_cast<size_t>(expert_of(chosen, t, u) + 1)]++;
  for (int64_t e = 0; e < experts; e++) state.starts[static_cast<size_t>(e + 1)] += state.starts[static_cast<size_t>(e)];
  for (int64_t t = 0; t < rows; t++)
    for (int64_t u = 0; u < slots; u++)
      state.sorted[static_cast<size_t>(t * slots + u)] = state.starts[static_cast<size_t>(expert_of(chosen, t, u))]++;
  for (int64_t e = experts; e > 0; e--) state.starts[static_cast<size_t>(e)] = state.starts[static_cast<size_t>(e - 1)];
  state.starts[0] = 0;
}

int32_t slots_of(const ExpertState& state, int64_t expert) {
  return state.starts[static_cast<size_t>(expert + 1)] - state.starts[static_cast<size_t>(expert)];
}

/* Phase 0: group slots; quantise rows of x to where each of their slots belongs. Tasks are rows. */
Phase begin_grouping(Program& program, const Instruction& instruction) {
  LinearState& state = program.linear;
  const Value& x = *instruction.in[0];
  const int64_t n = program.rows_of(x), slots = instruction.out[0]->heads;
  if (n == 0) return {0, 0};
  sort_slots(program, instruction, n);
  int64_t offset = 0;
  state.kind_count = 0;
  for (size_t i = 2; i < instruction.in.size(); i += 2) {
    const int32_t type = instruction.in[i]->type, kind = program.act_kind(type, 1);
    if (std::find(state.kinds, state.kinds + state.kind_count, kind) != state.kinds + state.kind_count) continue;
    const int slot = state.kind_count++;
    state.kinds[slot] = kind;
    state.acts[slot] = program.acts->data() + offset;
    state.act_stride[slot] = expert_stride(program, type, x.width);
    offset += state.act_stride[slot] * n * slots;
  }
  return {n, static_cast<double>(x.row_width() * n) * 0.15 + static_cast<double>(n * slots * x.width) * 0.03};
}

void group_row(Program& program, const Instruction& instruction, int64_t row) {
  const LinearState& state = program.linear;
  const Value &x = *instruction.in[0], *chosen = instruction.in[1];
  const int64_t slots = instruction.out[0]->heads;
  const int32_t* sorted = program.experts.sorted.data() + row * slots;
  for (int i = 0; i < state.kind_count; i++) {
    const int64_t stride = state.act_stride[i];
    for (int64_t u = 0; u < slots; u++) {
      uint8_t* to = state.acts[i] + sorted[u] * stride;
      const int32_t kind = act_kind_of(state.kinds[i], slots_of(program.experts, expert_of(chosen, row, u)));
      if (u > 0 && x.heads == 1 && kind != ACT_F32 && kind != ACT_LANES) {   // these differ by how many rows an expert has
        std::memcpy(to, state.acts[i] + sorted[0] * stride, static_cast<size_t>(stride));
        continue;
      }
      program.kernels.quantize_row(kind, x.row(row) + (x.heads == 1 ? 0 : u) * x.width, x.width, to);
    }
  }
}

/* Phase 1: row panels of the matrices of all experts that have rows. */
Phase begin_products(Program& program, const Instruction& instruction) {
  LinearState& state = program.linear;
  ExpertState& experts = program.experts;
  const Value& x = *instruction.in[0];
  const int64_t n = program.rows_of(x), slots = instruction.out[0]->heads;
  state.matrices.clear();
  if (n == 0) return {0, 0};
  double cost = 0;
  int64_t weight_bytes = 0;
  for (size_t i = 2; i < instruction.in.size(); i += 2) {
    const Value &w = *instruction.in[i], *bias = instruction.in[i + 1];
    Value& y = *instruction.out[(i - 2) / 2];
    int64_t* places = experts.places.data() + (i - 2) / 2 * static_cast<size_t>(n * slots);
    for (int64_t t = 0; t < n; t++)
      for (int64_t u = 0; u < slots; u++)
        places[experts.sorted[static_cast<size_t>(t * slots + u)]] = t * y.stride + u * y.width;
    const int32_t kind = program.act_kind(w.type, 1);
    const auto slot = std::find(state.kinds, state.kinds + state.kind_count, kind) - state.kinds;
    const int64_t row_bytes = type_row_bytes(w.type, w.width);
    for (int64_t e = 0; e < w.rows; e++) {
      const int64_t first = experts.starts[static_cast<size_t>(e)], count = slots_of(experts, e);
      if (count == 0) continue;
      state.matrices.push_back({{w.data + e * w.heads * row_bytes, w.type, w.heads, w.width, row_bytes,
                                 state.acts[slot] + first * state.act_stride[slot], state.act_stride[slot], count, y.row(0), 0,
                                 bias != nullptr ? bias->row(e) : nullptr, places + first},
                                0, 0});
      cost += static_cast<double>(w.row_width()) * (0.03 + 0.01 * static_cast<double>(count));
      weight_bytes += w.heads * row_bytes;
    }
  }
  return split_matrices(program, cost, weight_bytes);
}

}  // namespace

int64_t expert_stride(const Program& program, int32_t type, int64_t K) {
  const int32_t kind = program.act_kind(type, 1);
  return act_bytes(kind == ACT_F32 ? int32_t{ACT_LANES} : kind, K);   // which is wider
}

void route(Program&, const Instruction& instruction, int64_t row, Columns) {
  const Value& logits = *instruction.in[0];
  const float *scores = logits.row(row), *bias = instruction.in[1] != nullptr ? instruction.in[1]->row(0) : nullptr;
  const double* given = instruction.attributes;
  const int score = static_cast<int>(given[0]), groups = static_cast<int>(given[1]);
  const int experts = static_cast<int>(logits.row_width()), used = instruction.out[0]->width;
  double shares[kExpertsMax] = {}, ranks[kExpertsMax], weights[kExpertsMax] = {};
  bool taken[kExpertsMax] = {};
  for (int i = 0; i < experts; i++) shares[i] = score == kSigmoid ? 1 / (1 + std::exp(-double{scores[i]})) : double{scores[i]};
  if (score == kSoftmax) softmax(shares, experts);
  for (int i = 0; i < experts; i++) ranks[i] = bias != nullptr ? shares[i] + double{bias[i]} : shares[i];
  if (groups > 1) drop_groups(ranks, experts, groups, static_cast<int>(given[2]), static_cast<int>(given[3]), taken);
  auto* chosen = reinterpret_cast<int32_t*>(instruction.out[1]->row(row));
  double sum = 0;
  for (int u = 0; u < used; u++) {
    chosen[u] = take_best(ranks, experts, taken);
    weights[u] = shares[chosen[u]];
  }
  if (score == kSoftmaxOfChosen) softmax(weights, used);
  if (score == kSparseMixer) mix_sparsely(shares, experts, chosen, used, weights);
  for (int u = 0; u < used; u++) sum += weights[u];
  const double scale = given[4] != 0 ? given[5] / std::max(sum, 1e-20) : given[5];
  for (int u = 0; u < used; u++) instruction.out[0]->row(row)[u] = static_cast<float>(weights[u] * scale);
}

void weigh(Program& program, const Instruction& instruction, int64_t row, Columns columns) {
  const Value& y = *instruction.in[0];
  program.rows.weigh(y.row(row) + columns.begin, instruction.in[1]->row(row), instruction.out[0]->row(row) + columns.begin,
                     columns.end - columns.begin, y.heads, y.width);
}

void project_once(Program& program, const Instruction& instruction, int64_t row, Columns) {
  const Value& x = *instruction.in[0];
  *instruction.out[0]->row(row) = program.rows.dot(x.row(row), instruction.in[1]->row(0), x.row_width());
}

Phase begin_experts(Program& program, const Instruction& instruction, int phase) {
  return phase == 0 ? begin_grouping(program, instruction) : begin_products(program, instruction);
}

void run_experts(Program& program, const Instruction& instruction, int phase, int64_t index, int thread) {
  if (phase == 0) group_row(program, instruction, index);
  else multiply(program, index, thread);
}

}  // namespace pacos
