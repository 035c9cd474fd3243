// Row and attention kernels for portable: see row_kernels.hpp.
#define PACOS_ISA portable
#include "backends/cpu/attention.hpp"
#include "backends/cpu/recurrent.hpp"
#include "backends/cpu/rows.hpp"
#include "backends/cpu/rows_table.hpp"
