// The library's own facts.
#include "pacos.h"
#include <stdlib.h>   // defines __GLIBC__
#if defined(__GLIBC__)
#include <malloc.h>
#endif

extern "C" int32_t pacos_abi_version(void) { return PACOS_ABI_VERSION; }

extern "C" int32_t pacos_keep_freed_memory(int32_t keep) {
#if defined(__GLIBC__)
  constexpr int32_t most = 32 << 20;   // what glibc takes at most, and its own least
  const int32_t least = 128 << 10;
  mallopt(M_MMAP_THRESHOLD, keep != 0 ? most : least);
  mallopt(M_TRIM_THRESHOLD, keep != 0 ? 1 << 30 : least);
  mallopt(M_ARENA_MAX, keep != 0 ? 1 : 8);
  if (keep == 0) malloc_trim(0);
  return 0;
#else
  static_cast<void>(keep);
  return -1;
#endif
}
