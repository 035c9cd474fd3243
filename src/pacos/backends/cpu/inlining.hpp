/* inlining.hpp: what must be inlined for speed: kernels are unrolled over registers. Builds that only check results, in
   emulators and under sanitizers, define PACOS_NOT_UNROLLED: they compile four times as fast. */
#pragma once

#if defined(PACOS_NOT_UNROLLED)
#define PACOS_INLINED
#define PACOS_INLINE static inline
#define PACOS_METHOD inline
#else
#define PACOS_INLINED __attribute__((always_inline))   // of a lambda: what it captures stays in registers
#define PACOS_INLINE static inline PACOS_INLINED
#define PACOS_METHOD inline PACOS_INLINED
#endif
