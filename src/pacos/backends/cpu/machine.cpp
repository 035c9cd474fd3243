// Measure the machine itself: read bandwidth, 8-bit integer rate and f32 rate, over any number of threads.
#include "machine.hpp"

#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "pacos.h"

namespace pacos {
namespace {

constexpr int64_t kStreams = 8;  // one alone keeps too few loads in flight: 26 GB/s where eight read 33

// Sum 64-bit words from eight places at once, in eight chains, so that loads and not additions set the pace.
uint64_t sum_words(const uint64_t* data, int64_t words) {
    const int64_t each = words / (8 * kStreams) * 8;
    uint64_t sums[8] = {};
    for (int64_t i = 0; i < each; i += 8)
        for (int64_t stream = 0; stream < kStreams; ++stream) {
            const uint64_t* line = data + stream * each + i;
            __builtin_prefetch(line + 64);
            for (int j = 0; j < 8; ++j) sums[j] += line[j];
        }
    uint64_t total = 0;
    for (uint64_t sum : sums) total += sum;
    return total;
}

// Run `work(thread)` on every thread at once and return the seconds until the last one is done.
template <class Work>
double timed(int32_t threads, Work work) {
    auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> team;
    for (int32_t t = 1; t < threads; ++t) team.emplace_back([&, t] { work(t); });
    work(0);
    for (auto& member : team) member.join();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int64_t int8_burn_portable(int64_t rounds, int32_t* sink) {
    typedef int16_t lanes __attribute__((vector_size(16)));
    lanes sums[8] = {}, factor = {1, 2, 3, 4, 5, 6, 7, 8};
    for (int64_t i = 0; i < rounds; ++i)
        for (auto& sum : sums) sum += factor * (factor + sum);
    for (auto& sum : sums) *sink += sum[0];
    return rounds * 8 * 8 * 2;
}

int64_t float_burn_portable(int64_t rounds, float* sink) {
    typedef float lanes __attribute__((vector_size(16)));
    lanes sums[8] = {}, factor = {1, 2, 3, 4};
    for (int64_t i = 0; i < rounds; ++i)
        for (auto& sum : sums) sum = sum * factor + factor;
    for (auto& sum : sums) *sink += sum[0];
    return rounds * 8 * 4 * 2;
}

namespace {

// The best of three turns of a burn on all threads at once, in operations per second.
template <class Sink>
double best_rate(int32_t threads, int64_t rounds, int64_t (*burn)(int64_t, Sink*)) {
    if (threads < 1 || rounds < 1) return 0;
    std::vector<Sink> sinks(threads);
    std::vector<int64_t> operations(threads);
    double best = 0;
    for (int turn = 0; turn < 3; ++turn) {
        double seconds = timed(threads, [&](int32_t t) { operations[t] = burn(rounds, &sinks[t]); });
        double rate = static_cast<double>(operations[0]) * threads / seconds;
        if (rate > best) best = rate;
    }
    return best;
}

}  // namespace
}  // namespace pacos

extern "C" double pacos_machine_bandwidth(int32_t threads, int64_t bytes_per_thread) {
    if (threads < 1 || bytes_per_thread < 64 * pacos::kStreams) return 0;
    std::vector<std::vector<uint64_t>> blocks(threads);
    std::vector<uint64_t> totals(threads);
    for (auto& block : blocks) block.assign(bytes_per_thread / 8, 1);
    double best = 0;
    for (int turn = 0; turn < 3; ++turn) {
        double seconds = pacos::timed(threads, [&](int32_t t) {
            totals[t] += pacos::sum_words(blocks[t].data(), static_cast<int64_t>(blocks[t].size()));
        });
        double rate = static_cast<double>(threads) * static_cast<double>(blocks[0].size() * 8) / seconds;
        if (rate > best && totals[0] != 0) best = rate;
    }
    return best;
}

extern "C" double pacos_machine_int8_rate(int32_t threads, const char* isa, int64_t rounds) {
    pacos::Int8Burn burn = pacos::int8_burn_portable;
#if defined(__x86_64__) || defined(_M_X64)
    if (std::strcmp(isa, "avx2") == 0) burn = pacos::int8_burn_avx2;
    if (std::strcmp(isa, "avxvnni") == 0) burn = pacos::int8_burn_avxvnni;
    if (std::strcmp(isa, "avx512") == 0) burn = pacos::int8_burn_avx512;
    if (std::strcmp(isa, "amx") == 0) burn = pacos::int8_burn_amx;
#elif defined(__aarch64__)
    if (std::strcmp(isa, "neondot") == 0) burn = pacos::int8_burn_neondot;
    if (std::strcmp(isa, "neoni8mm") == 0) burn = pacos::int8_burn_neoni8mm;
#endif
    return pacos::best_rate(threads, rounds, burn);
}

extern "C" double pacos_machine_float_rate(int32_t threads, [[maybe_unused]] const char* isa, int64_t rounds) {
    pacos::FloatBurn burn = pacos::float_burn_portable;
#if defined(__x86_64__) || defined(_M_X64)
    if (std::strncmp(isa, "avx", 3) == 0) burn = pacos::float_burn_avx2;
    if (std::strncmp(isa, "avx512", 6) == 0 || std::strcmp(isa, "amx") == 0) burn = pacos::float_burn_avx512;
#endif
    return pacos::best_rate(threads, rounds, burn);
}
