/* recurrent_ops.hpp: how recurrent ops divide into tasks: sequences, heads, and rows of a head's state. For ops.cpp. */
#pragma once
#include <algorithm>

#include "backends/cpu/program.hpp"

namespace pacos {

/* The heads of an op's state, rows of a head, numbers of a row; heads of its keys; roughly nanoseconds per number. */
struct RecurrentForm {
  int32_t heads, rows, width, key_heads;
  double cost;
};

inline RecurrentForm conv_form(const Instruction& one) { return {1, one.in[1]->rows * one.in[1]->heads, one.in[1]->width, 1, 0.4}; }
inline RecurrentForm before_form(const Instruction& one) { return {1, one.in[0]->width, 1, 1, 0.1}; }
inline RecurrentForm selective_form(const Instruction& one) { return {1, one.in[4]->rows, one.in[4]->width, 1, 1.0}; }
inline RecurrentForm grouped_form(const Instruction& one) {
  return {one.in[0]->heads, one.in[0]->width, one.in[2]->width, one.in[2]->heads, 0.2};
}
inline RecurrentForm delta_form(const Instruction& one) {
  return {one.in[2]->heads, one.in[2]->width, one.in[1]->width, one.in[1]->heads, 0.4};
}
inline RecurrentForm wkv_form(const Instruction& one) {
  return {one.in[0]->heads, one.in[0]->width, one.in[0]->width, one.in[0]->heads, 0.3};
}

template <auto form_of>
Phase begin_recurrent(Program& program, const Instruction& instruction, int) {
  const RecurrentForm form = form_of(instruction);
  const int64_t sequences = program.step->sequences_count, threads = program.pool.threads();
  const double numbers = static_cast<double>(form.heads) * form.rows * form.width;
  const double total = numbers * form.cost * static_cast<double>(program.step->tokens_count);
  RecurrentState& state = program.recurrent;
  const int64_t most = std::max<int64_t>(16, 4096 / form.width);   // 16 KB of state stay near while tokens pass
  state.block_rows = std::clamp<int64_t>(form.rows * form.heads / (4 * threads), 16, most) / 16 * 16;
  state.blocks = form.heads * ((form.rows + state.block_rows - 1) / state.block_rows);
  return {sequences * state.blocks, total};
}

template <auto form_of, auto kernel>
void run_recurrent(Program& program, const Instruction& instruction, int, int64_t index, int) {
  const RecurrentForm form = form_of(instruction);
  const RecurrentState& state = program.recurrent;
  const pacos_step& step = *program.step;
  const int64_t s = index / state.blocks, block = index % state.blocks, per_head = state.blocks / form.heads;
  const int64_t first = step.sequence_starts[s];
  RecurrentArgs args{};
  for (size_t i = 0; i < instruction.in.size(); i++) {
    const Value* operand = instruction.in[i];
    if (operand == nullptr) continue;
    args.in[i] = operand->row(operand->rows == PACOS_ROWS_TOKENS ? first : 0);
    args.stride[i] = operand->stride;
  }
  Value& y = *instruction.out[0];
  args.y = y.row(first);
  args.y_stride = y.stride;
  float* part = program.states_of_slots + static_cast<int64_t>(instruction.attributes[0]);
  args.from = step.positions[first] == 0 ? nullptr : part + step.states_from[s] * program.slot_floats;
  args.to = part + step.states_to[s] * program.slot_floats;
  args.tokens = step.sequence_starts[s + 1] - first;
  args.rows = form.rows;
  args.width = form.width;
  args.head = static_cast<int32_t>(block / per_head);
  args.key_head = instruction.attributes[1] != 0 ? args.head % form.key_heads : args.head / (form.heads / form.key_heads);
  args.begin = static_cast<int32_t>(block % per_head * state.block_rows);
  args.end = static_cast<int32_t>(std::min<int64_t>(args.begin + state.block_rows, form.rows));
  args.wide = instruction.in.size() == 5 && instruction.in[3]->row_width() == int64_t{form.heads} * form.width;
  (program.rows.*kernel)(args);
}

template <auto form_of, auto kernel>
constexpr Op recurrent_op(const char* name) {
  return {name, 0, false, nullptr, 1, begin_recurrent<form_of>, run_recurrent<form_of, kernel>};
}

}  // namespace pacos
