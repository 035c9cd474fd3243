// Row and attention kernels for avx2: see row_kernels.hpp.
#define PACOS_LANES_AVX2
#define PACOS_ISA avx2
#include "backends/cpu/attention.hpp"
#include "backends/cpu/recurrent.hpp"
#include "backends/cpu/rows.hpp"
#include "backends/cpu/rows_table.hpp"
