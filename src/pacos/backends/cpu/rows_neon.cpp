// Row and attention kernels for neon: see row_kernels.hpp.
#define PACOS_LANES_NEON
#define PACOS_ISA neon
#include "backends/cpu/attention.hpp"
#include "backends/cpu/recurrent.hpp"
#include "backends/cpu/rows.hpp"
#include "backends/cpu/rows_table.hpp"
