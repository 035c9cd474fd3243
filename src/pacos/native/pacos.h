/* pacos.h: the whole surface of the native library. Plain C ABI; no Python, no file, no exception crosses it.
   Each section belongs to one folder of the package; its Python side declares the same signatures with ctypes. */
#ifndef PACOS_H
#define PACOS_H
#include <stdint.h>

#if defined(_WIN32)
#define PACOS_API __declspec(dllexport)
#else
#define PACOS_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- native/ : the library itself ---- */
PACOS_API int32_t pacos_abi_version(void);

/* ---- text/ : tokenizers ---- */

/* ---- backends/cpu/ : programs ---- */
typedef struct pacos_pool pacos_pool;
typedef struct pacos_program pacos_program;

/* Threads that run steps, the caller of pacos_program_run being one of them; null when the system gives none. */
PACOS_API pacos_pool* pacos_pool_create(int32_t threads);
PACOS_API void pacos_pool_free(pacos_pool* pool);
/* Run `phases` phases of `tasks` tasks that add their number from 1 on; gives that sum + phases + 1. For tests. */
PACOS_API int64_t pacos_pool_exercise(pacos_pool* pool, int64_t phases, int64_t tasks, int64_t work);

/* ---- quants/ : block formats ---- */

/* ---- engine/ : sampling ---- */

#ifdef __cplusplus
}
#endif
#endif
