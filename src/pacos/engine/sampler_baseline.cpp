// The sampler's row kernels for every processor.
#define PACOS_LANES 4
#include "sampler_kernels.hpp"

const pacos::sampling::RowKernels pacos::sampling::rows_baseline = kernels;
