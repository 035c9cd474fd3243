// The searches for every processor.
#define PACOS_LANES 4
#include "search_kernels.hpp"

const pacos::search::Kernels pacos::search::kernels_baseline = kernels;
