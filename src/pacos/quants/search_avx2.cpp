// The searches and packers for AVX2.
#define PACOS_LANES 8
#define PACOS_ISA search_avx2
#include "search_kernels.hpp"

const pacos::search::Kernels pacos::search::kernels_avx2 = kernels;
