/* experts.hpp: ops of mixtures of experts. The arithmetic of their products is in linear.hpp, like that of all matrices.

   Slots of all rows are grouped by expert, so that a step reads each expert's matrix once, whatever rows chose it; the
   results go back to the places of their slots. A row's bits depend on that row alone. */
#pragma once
#include "backends/cpu/program.hpp"

namespace pacos {

/* Operands: scores, bias or null; results: weights, numbers of experts as i32. Attributes: index of the kind of scores,
   groups, groups used, group members that count, whether weights add up to one, scale. */
void route(Program& program, const Instruction& instruction, int64_t row, Columns columns);
void weigh(Program& program, const Instruction& instruction, int64_t row, Columns columns);
void project_once(Program& program, const Instruction& instruction, int64_t row, Columns columns);

/* Operands: x, numbers of experts or null (slot u takes matrix u), then weight and bias in turn. */
Phase begin_experts(Program& program, const Instruction& instruction, int phase);
void run_experts(Program& program, const Instruction& instruction, int phase, int64_t index, int thread);

/* Which matrix a slot of a row takes. */
inline int expert_of(const Value* chosen, int64_t row, int64_t slot) {
  return chosen != nullptr ? reinterpret_cast<const int32_t*>(chosen->row(row))[slot] : static_cast<int>(slot);
}

/* ---- shared with linear ---- */

/* Give each of the matrices of program.linear its tasks of rows. */
Phase split_matrices(Program& program, double cost, int64_t weight_bytes);
/* One of these tasks. */
void multiply(Program& program, int64_t index, int thread);

/* Bytes between the quantised rows of slots that matrices of a type multiply. */
int64_t expert_stride(const Program& program, int32_t type, int64_t K);

}  // namespace pacos
