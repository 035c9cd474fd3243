// The sampler's row kernels for AVX2.
#define PACOS_LANES 8
#include "sampler_kernels.hpp"

const pacos::sampling::RowKernels pacos::sampling::rows_avx2 = kernels;
