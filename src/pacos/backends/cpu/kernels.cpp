/* Choose kernels by what the CPU can do, and let tests call one kernel of one instruction set. */
#include "kernels.hpp"

#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "pacos.h"

namespace pacos {

#if defined(__x86_64__)

static uint64_t enabled_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low | (uint64_t)high << 32;
}

struct Features {
  bool avx2 = false, avxvnni = false, avx512 = false, amx = false;

  Features() {
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    const bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1, f16c = c >> 29 & 1;
    if (!(osxsave && avx && (enabled_state() & 6) == 6)) return;   // the system saves the ymm registers
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    avx2 = fma && f16c && (b >> 5 & 1) && (b >> 8 & 1);
    const bool zmm = (enabled_state() & 0xe6) == 0xe6, tiles = (enabled_state() & 0x60000) == 0x60000;
    const bool f = b >> 16 & 1, dq = b >> 17 & 1, bw = b >> 30 & 1, vl = b >> 31 & 1, vnni = c >> 11 & 1;
    const bool amx_tiles = (d >> 24 & 1) && (d >> 25 & 1) && (d >> 22 & 1);   // AMX-TILE, AMX-INT8, AMX-BF16
    if (!avx2 || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) return;
    avxvnni = a >> 4 & 1;
    avx512 = zmm && f && dq && bw && vl && vnni && (a >> 5 & 1);   // bfloat16: the flags of this set allow it
    amx = avx512 && tiles && amx_tiles;
  }
};

/* Whether Linux lets this process use the tile registers: it must ask. */
static bool tiles_granted() {
#if defined(__linux__)
  static const bool granted = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
  return granted;
#else
  return false;
#endif
}

/* AMX comes last, so that only its name chooses it: it has never run on such a processor. */
static const Kernels* supported(int i) {
  static const Features features;
  switch (i) {
    case 0: return features.avx512 ? &kernels_avx512 : nullptr;
    case 1: return features.avxvnni ? &kernels_avxvnni : nullptr;
    case 2: return features.avx2 ? &kernels_avx2 : nullptr;
    case 3: return &kernels_portable;
    default: return features.amx && tiles_granted() ? &kernels_amx : nullptr;
  }
}
constexpr int kCandidates = 5;

#elif defined(__aarch64__)

struct Features {
  bool dot = false, i8mm = false;

  Features() {
#if defined(__APPLE__)
    int32_t has = 0;
    size_t bytes = sizeof has;
    dot = true;
    i8mm = sysctlbyname("hw.optional.arm.FEAT_I8MM", &has, &bytes, nullptr, 0) == 0 && has;
#elif defined(__linux__)
    dot = getauxval(AT_HWCAP) >> 20 & 1;            // HWCAP_ASIMDDP
    i8mm = dot && (getauxval(AT_HWCAP2) >> 13 & 1);   // HWCAP2_I8MM
#endif
  }
};

static const Kernels* supported(int i) {
  static const Features features;
  switch (i) {
    case 0: return features.i8mm ? &kernels_neoni8mm : nullptr;
    case 1: return features.dot ? &kernels_neondot : nullptr;
    case 2: return &kernels_neon;
    default: return &kernels_portable;
  }
}
constexpr int kCandidates = 4;

#else

static const Kernels* supported(int) { return &kernels_portable; }
constexpr int kCandidates = 1;

#endif

const Kernels* find_kernels(const char* isa) {
  for (int i = 0; i < kCandidates; i++) {
    const Kernels* table = supported(i);
    if (table && (!isa || !*isa || !strcmp(isa, table->isa))) return table;
  }
  return nullptr;
}

const FormatFacts* format_facts(int32_t type) { return kernels_portable.format(type); }

}  // namespace pacos

using namespace pacos;

extern "C" const char* pacos_cpu_isas(void) {
  static char names[64];
  if (!*names)
    for (int i = 0; i < kCandidates; i++)
      if (const Kernels* table = supported(i)) {
        if (*names) strcat(names, " ");
        strcat(names, table->isa);
      }
  return names;
}

extern "C" int32_t pacos_dequantize(const char* isa, int32_t type, const void* src, float* dst, int64_t n) {
  const Kernels* kernels = find_kernels(isa);
  const FormatFacts* facts = format_facts(type);
  if (!kernels || !facts || n < 0 || n % facts->block) return -1;
  kernels->dequantize_row(type, src, dst, n);
  return 0;
}

extern "C" int32_t pacos_quantize_activations(const char* isa, int32_t kind, const float* x, int64_t K, void* out) {
  const Kernels* kernels = find_kernels(isa);
  if (!kernels || kind < 0 || kind >= kActKinds || K < 0 || K % (kind == ACT_Q32 ? 32 : kind == ACT_Q256 ? 256 : 1)) return -1;
  kernels->quantize_row(kind, x, K, out);
  return (int32_t)act_bytes(kind, K);
}

static void* aligned_bytes(int64_t bytes) {
#if defined(_WIN32)
  return _aligned_malloc((size_t)round_up(bytes, 64), 64);
#else
  return aligned_alloc(64, (size_t)round_up(bytes, 64));
#endif
}

static void free_aligned(void* p) {
#if defined(_WIN32)
  _aligned_free(p);
#else
  free(p);
#endif
}

extern "C" int32_t pacos_linear(const char* isa, int32_t type, const void* w, int64_t rows, int64_t K, const float* x, int64_t n,
                                const float* bias, float* y, int32_t repeats) {
  const Kernels* kernels = find_kernels(isa);
  const FormatFacts* facts = format_facts(type);
  if (!kernels || !facts || rows < 0 || n < 0 || K <= 0 || K % facts->block) return -1;
  const int32_t kind = act_kind_of(facts->act_kind, n);
  const int64_t stride = act_bytes(kind, K);
  uint8_t* acts = (uint8_t*)aligned_bytes(stride * n + 64);
  void* scratch = aligned_bytes(kernels->linear_scratch(type, K, n));
  int32_t result = -2;
  if (acts && scratch) {
    for (int64_t c = 0; c < n; c++) kernels->quantize_row(kind, x + c * K, K, acts + c * stride);
    const int64_t row_bytes = K / facts->block * facts->block_bytes;
    const LinearArgs args{(const uint8_t*)w, type, rows, K, row_bytes, acts, stride, n, y, rows, bias};
    for (int32_t i = 0; i < repeats; i++)
      for (int64_t r = 0; r < rows; r += 64) kernels->linear(args, r, r + 64 < rows ? r + 64 : rows, scratch);
    result = 0;
  }
  free_aligned(acts);
  free_aligned(scratch);
  return result;
}
