// The library's own facts.
#include "pacos.h"

extern "C" int32_t pacos_abi_version(void) { return 1; }
