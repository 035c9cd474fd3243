// The searches and packers for every processor.
#define PACOS_LANES 4
#define PACOS_ISA search_baseline
#include "search_kernels.hpp"

const pacos::search::Kernels pacos::search::kernels_baseline = kernels;
