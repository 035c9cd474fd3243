// Sums of the squares of what matrices are multiplied with: see observed.hpp.
#include "backends/cpu/observed.hpp"

#include "backends/cpu/experts.hpp"

namespace pacos {
namespace {

void add_row(const float* x, int64_t columns, double* sums) {
  for (int64_t i = 0; i < columns; i++) sums[i] += double{x[i]} * double{x[i]};
}

}  // namespace

Observed begin_observing(const Instruction& instruction) {
  const size_t first = first_matrix(instruction);
  if (first == 0) return {};
  const Value& w = *instruction.in[first];
  const int64_t matrices = first == 2 ? w.rows : 1;
  return {std::vector<double>(static_cast<size_t>(matrices * w.width)), std::vector<int64_t>(static_cast<size_t>(matrices))};
}

void observe(const Program& program, const Instruction& instruction, Observed& seen) {
  const size_t first = first_matrix(instruction);
  if (first == 0) return;
  const Value &x = *instruction.in[0], *chosen = first == 2 ? instruction.in[1] : nullptr;
  const int64_t columns = instruction.in[first]->width, slots = first == 2 ? instruction.out[0]->heads : 1;
  for (int64_t row = 0; row < program.rows_of(x); row++)
    for (int64_t slot = 0; slot < slots; slot++) {
      const int64_t matrix = first == 2 ? expert_of(chosen, row, slot) : 0;
      add_row(x.row(row) + (first == 2 && x.heads != 1 ? slot * columns : 0), columns, seen.sums.data() + matrix * columns);
      seen.rows[static_cast<size_t>(matrix)]++;
    }
}

}  // namespace pacos
