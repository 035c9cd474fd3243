// What the machine can do at most: the yardstick behind "share of the limit" in the benchmark.
#pragma once
#include <cstdint>

namespace pacos {

// Runs 8-bit multiply-adds from registers for about `rounds` iterations and returns how many operations that was
// (a multiplication and an addition count as two). One thread; the caller takes the time.
using Int8Burn = int64_t (*)(int64_t rounds, int32_t* sink);

int64_t int8_burn_portable(int64_t rounds, int32_t* sink);
int64_t int8_burn_avx2(int64_t rounds, int32_t* sink);
int64_t int8_burn_avxvnni(int64_t rounds, int32_t* sink);
int64_t int8_burn_avx512(int64_t rounds, int32_t* sink);
int64_t int8_burn_amx(int64_t rounds, int32_t* sink);
int64_t int8_burn_neondot(int64_t rounds, int32_t* sink);
int64_t int8_burn_neoni8mm(int64_t rounds, int32_t* sink);

// The same for f32 multiply-adds, the limit of matrices in F32, F16 and BF16.
using FloatBurn = int64_t (*)(int64_t rounds, float* sink);

int64_t float_burn_portable(int64_t rounds, float* sink);
int64_t float_burn_avx2(int64_t rounds, float* sink);
int64_t float_burn_avx512(int64_t rounds, float* sink);

}  // namespace pacos
