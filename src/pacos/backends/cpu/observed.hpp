/* observed.hpp: sums of the squares of what matrices are multiplied with, column by column.

   They are taken on one thread, after the product: a few multiplications beside the thousands that each number takes
   part in; so their order, and with it every bit, is the same however many threads compute. */
#pragma once
#include <cstdint>
#include <vector>

namespace pacos {

class Program;
struct Instruction;

/* Shapes: sums [matrices][columns], rows [matrices] that each has multiplied; none for an op without matrices. */
struct Observed {
  std::vector<double> sums;
  std::vector<int64_t> rows;
};

/* Sums of zero, as large as the instruction's matrices need. */
Observed begin_observing(const Instruction& instruction);
/* Add what the instruction has just multiplied. */
void observe(const Program& program, const Instruction& instruction, Observed& seen);

}  // namespace pacos
