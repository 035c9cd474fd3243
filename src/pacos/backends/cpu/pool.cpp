// The thread pool: see pool.hpp for the idea.
#include "backends/cpu/pool.hpp"

#include <chrono>

#if defined(_WIN32)
#include <process.h>
#define pacos_process_id _getpid
#else
#include <unistd.h>
#define pacos_process_id getpid
#endif

#include "pacos.h"

namespace pacos {
namespace {

constexpr int kTaskBits = 24;
constexpr uint64_t kTaskMask = (uint64_t{1} << kTaskBits) - 1;
constexpr auto kSpinTime = std::chrono::microseconds(40);
constexpr auto kTurnTime = std::chrono::microseconds(1500);   // below the slice that Linux grants; 1000 and 2000 do as well

int64_t next_of(uint64_t ticket) { return static_cast<int64_t>(ticket & kTaskMask); }
int64_t tasks_of(uint64_t ticket) { return static_cast<int64_t>(ticket >> kTaskBits & kTaskMask); }

/* Rounding to nearest and denormals while a step computes: its result must not depend on what other code in this process
   has set for the calling thread (fast-math libraries do). */
class PlainArithmetic {
 public:
#if defined(__x86_64__)
  PlainArithmetic() : saved_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(0x1f80); }
  ~PlainArithmetic() { __builtin_ia32_ldmxcsr(saved_); }

 private:
  const uint32_t saved_;
#elif defined(__aarch64__)
  PlainArithmetic() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" ::"r"(uint64_t{0}));
  }
  ~PlainArithmetic() { __asm__ volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  uint64_t saved_;
#else
  PlainArithmetic() {}
#endif
};

/* Gives the core away between two tasks now and then, when the thread holds nothing that others wait for. Who shares the
   core gets it then, and not in the middle of a task, while all other threads would wait until this one comes back. */
class Turn {
 public:
  void offer() {
    const auto now = std::chrono::steady_clock::now();
    if (now - begun_ < kTurnTime) return;
    std::this_thread::yield();
    begun_ = std::chrono::steady_clock::now();
  }

 private:
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

/* Watch until changed() for kSpinTime; false when the time is up. */
template <class Changed>
bool spin(Changed changed) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    for (int i = 0; i < 64; i++) {
      if (changed()) return true;
      relax();
    }
    if (std::chrono::steady_clock::now() - start > kSpinTime) return false;
  }
}

}  // namespace

Pool::Pool(int threads) : threads_(threads < 1 ? 1 : threads), owner_(pacos_process_id()) {
  workers_.reserve(static_cast<size_t>(threads_ - 1));
  try {
    for (int i = 1; i < threads_; i++) workers_.emplace_back([this, i] { work(i); });
  } catch (...) {
    stop_.store(true);
    published_.fetch_add(1);
    sleep_.wake_all(published_);
    for (auto& worker : workers_) worker.join();
    throw;
  }
}

Pool::~Pool() {
  if (owner_ != pacos_process_id()) {   // a fork copied the objects, not the threads
    for (auto& worker : workers_) worker.detach();
    return;
  }
  std::lock_guard<std::mutex> lock(running_);
  stop_.store(true);
  published_.fetch_add(1);
  sleep_.wake_all(published_);
  for (auto& worker : workers_) worker.join();
}

void Pool::run(Job& job) {
  std::lock_guard<std::mutex> lock(running_);
  const PlainArithmetic plain;
  const int64_t tasks = job.advance(0);
  if (tasks == 0) return;               // all of it was serial; nobody needs to wake
  job_ = &job;
  job_done_.store(false, std::memory_order_relaxed);
  publish(tasks);
  serve(0, [this] { return job_done_.load(); });
}

void Pool::work(int thread) {
  const PlainArithmetic plain;
  serve(thread, [this] { return stop_.load(); });
}

/* Do tasks, and rest where there are none, until it is over. */
template <class Over>
void Pool::serve(int thread, Over over) {
  Turn turn;
  for (;;) {
    if (take(thread)) {
      turn.offer();
      continue;
    }
    const uint32_t seen = published_.load();
    if (over()) return;
    rest(seen);
  }
}

/* Wait until published_ is no longer `seen`: spin, then sleep. Whoever publishes reads sleepers_ after the change, a
   sleeper reads published_ after it is counted, so one of them sees the other. */
void Pool::rest(uint32_t seen) {
  const uint64_t now = ticket_.load();
  if (next_of(now) < tasks_of(now)) return;
  if (spin([&] { return published_.load(std::memory_order_acquire) != seen; })) return;
  sleepers_.fetch_add(1);
  if (published_.load() == seen) sleep_.wait(published_, seen);
}

/* One call wakes all sleepers; those that the system has not yet let run are not woken again at every phase. */
void Pool::wake() {
  if (sleepers_.load() > 0 && sleepers_.exchange(0) > 0) sleep_.wake_all(published_);
}

/* Take and do one task of whatever phase is current; false when there is none to take. A thread that was put aside here
   takes a task of a later phase, which is as good: the ticket says which one, and a phase lives until its tasks are done. */
bool Pool::take(int thread) {
  uint64_t now = ticket_.load(std::memory_order_acquire);
  if (next_of(now) >= tasks_of(now)) return false;
  now = ticket_.fetch_add(1, std::memory_order_acq_rel);
  if (next_of(now) >= tasks_of(now)) return false;
  job_->task(next_of(now), thread);
  if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) finish_phase(thread);
  return true;
}

void Pool::finish_phase(int thread) {
  const int64_t tasks = job_->advance(thread);
  if (tasks > 0) {
    publish(tasks);
    return;
  }
  job_done_.store(true);
  published_.fetch_add(1);
  if (thread != 0) wake();
}

void Pool::publish(int64_t tasks) {
  unfinished_.store(tasks, std::memory_order_relaxed);
  const uint64_t epoch = (ticket_.load(std::memory_order_relaxed) >> 2 * kTaskBits) + 1;
  ticket_.store(epoch << 2 * kTaskBits | static_cast<uint64_t>(tasks) << kTaskBits, std::memory_order_release);
  published_.fetch_add(1);
  wake();
}

namespace {

/* Phases of equal tasks that count themselves: what the pool's own tests run. */
class Exercise final : public Job {
 public:
  Exercise(int64_t phases, int64_t tasks, int64_t work) : phases_(phases), tasks_(tasks), work_(work) {}
  void task(int64_t index, int) override {
    volatile int64_t spun = 0;
    for (int64_t i = 0; i < work_; i++) spun = spun + 1;
    sum_.fetch_add(index + 1, std::memory_order_relaxed);
  }
  int64_t advance(int) override {
    serial_ += 1;                       // unguarded on purpose: phases must not overlap
    return phases_-- > 0 ? tasks_ : 0;
  }
  int64_t result() const { return sum_.load() + serial_; }

 private:
  int64_t phases_;
  const int64_t tasks_, work_;
  int64_t serial_ = 0;
  std::atomic<int64_t> sum_{0};
};

}  // namespace
}  // namespace pacos

extern "C" {

pacos_pool* pacos_pool_create(int32_t threads) {
  try {
    return reinterpret_cast<pacos_pool*>(new pacos::Pool(threads));
  } catch (...) {
    return nullptr;
  }
}

void pacos_pool_free(pacos_pool* pool) { delete reinterpret_cast<pacos::Pool*>(pool); }

int64_t pacos_pool_exercise(pacos_pool* pool, int64_t phases, int64_t tasks, int64_t work) {
  if (tasks < 1 || tasks > pacos::Pool::kMaxTasks) return -1;
  pacos::Exercise job(phases, tasks, work);
  reinterpret_cast<pacos::Pool*>(pool)->run(job);
  return job.result();
}
}
