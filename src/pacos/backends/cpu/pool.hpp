/* pool.hpp: the thread pool that runs a step.

   A Job is a chain of phases; each phase is a number of independent tasks. Whoever finishes the last task of a phase
   calls advance() at once, on its own thread: it runs the serial work in between and says how many tasks come next.
   Nobody waits for a particular thread, so a thread that the system has put aside delays nothing unless it holds a task,
   and a step never collapses when other programs use the machine. The caller takes tasks too; a pool whose threads are
   gone (after fork) still finishes every job on the caller. Fork only while no job runs.

   Idle threads spin for a moment (a step's phases are microseconds apart), then sleep in the kernel. */
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "backends/cpu/sleep.hpp"

namespace pacos {

class Job {
 public:
  /* Do one task of the current phase. thread is below Pool::threads(); no two tasks run with the same one at once. */
  virtual void task(int64_t index, int thread) = 0;
  /* Move to the next phase and give its tasks (1 .. Pool::kMaxTasks), or 0 at the end. Serial work is done in here. */
  virtual int64_t advance(int thread) = 0;

 protected:
  ~Job() = default;
};

class Pool {
 public:
  static constexpr int64_t kMaxTasks = (int64_t{1} << 24) - 65536;

  explicit Pool(int threads);   // the caller of run() is one of them; throws std::system_error when none can be had
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }
  void run(Job& job);           // one job at a time; a second caller waits

 private:
  void work(int thread);
  template <class Over>
  void serve(int thread, Over over);
  bool take(int thread);
  void publish(int64_t tasks);
  void rest(uint32_t seen);
  void wake();
  void finish_phase(int thread);

  const int threads_;
  int64_t owner_;               // process that started the threads
  std::mutex running_;
  std::vector<std::thread> workers_;
  Job* job_ = nullptr;

  // epoch (16 bits) | tasks of the phase (24) | next task (24): taking one is a single fetch_add that also says of which
  // phase it is. The next task may run past the tasks by one per thread.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int64_t> unfinished_{0};
  alignas(64) std::atomic<uint32_t> published_{0};   // counts phases and ends; what idle threads watch
  std::atomic<uint32_t> sleepers_{0};   // who went to sleep since the last wake
  std::atomic<bool> job_done_{true};
  std::atomic<bool> stop_{false};
  Sleep sleep_;
};

}  // namespace pacos
