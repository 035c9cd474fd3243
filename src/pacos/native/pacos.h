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

/* ---- quants/ : block formats ---- */

/* ---- engine/ : sampling ---- */

#ifdef __cplusplus
}
#endif
#endif
