// The searches for AVX2.
#define PACOS_LANES 8
#include "search_kernels.hpp"

const pacos::search::Kernels pacos::search::kernels_avx2 = kernels;
