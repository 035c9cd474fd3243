// Row and attention kernels for avx512: see row_kernels.hpp.
#define PACOS_LANES_AVX512
#define PACOS_ISA avx512
#include "backends/cpu/attention.hpp"
#include "backends/cpu/recurrent.hpp"
#include "backends/cpu/rows.hpp"
#include "backends/cpu/rows_table.hpp"
