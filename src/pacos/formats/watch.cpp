// A read of a mapped file that has become shorter, or whose disk fails, is a SIGBUS: say which file, end with exit code 3.
#include "pacos.h"

#if defined(_WIN32)   // no file becomes shorter there while it is mapped

extern "C" void *pacos_watch(const void *, uint64_t, const char *) { return nullptr; }
extern "C" void pacos_unwatch(void *) {}

#else

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <string>

namespace {

constexpr int kModelError = 3;   // exit code of ModelError in errors.py

/* Entries stay in the list for good, because the handler may be walking it; an empty range is free to be used again. */
struct Watched {
    std::atomic<uintptr_t> begin{0}, end{0};
    std::string line;
    Watched *next = nullptr;
};

std::mutex changing;
std::atomic<Watched *> first{nullptr};
struct sigaction before;   // what handled SIGBUS until the first file was watched

void pass_on(int number, siginfo_t *info, void *context) {
    if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(number, info, context);
    const bool from_kernel = info->si_code > 0;
    if (before.sa_handler == SIG_IGN && !from_kernel) return;
    if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(number);
    signal(number, SIG_DFL);   // on return the instruction fails again, and ends the process
    if (!from_kernel) raise(number);
}

void on_bus_error(int number, siginfo_t *info, void *context) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(info->si_addr);
    for (const Watched *one = first.load(); one && info->si_code > 0; one = one->next) {
        if (at < one->begin.load() || at >= one->end.load()) continue;
        const ssize_t written = write(STDERR_FILENO, one->line.data(), one->line.size());
        static_cast<void>(written);
        _exit(kModelError);
    }
    pass_on(number, info, context);
}

Watched *free_entry() {
    for (Watched *one = first.load(); one; one = one->next)
        if (one->end.load() == 0) return one;
    Watched *made = new (std::nothrow) Watched;
    if (!made) return nullptr;
    made->next = first.load();
    if (!made->next) {
        struct sigaction ours = {};
        ours.sa_sigaction = on_bus_error;
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&ours.sa_mask);
        sigaction(SIGBUS, &ours, &before);
    }
    first.store(made);
    return made;
}

}  // namespace

extern "C" void *pacos_watch(const void *begin, uint64_t nbytes, const char *line) {
    const std::lock_guard<std::mutex> lock(changing);
    Watched *entry = free_entry();
    if (!entry) return nullptr;
    try {
        entry->line = line;
    } catch (...) {
        return nullptr;
    }
    entry->begin.store(reinterpret_cast<uintptr_t>(begin));
    entry->end.store(reinterpret_cast<uintptr_t>(begin) + nbytes);
    return entry;
}

extern "C" void pacos_unwatch(void *entry) {
    if (!entry) return;
    const std::lock_guard<std::mutex> lock(changing);
    static_cast<Watched *>(entry)->end.store(0);
}

#endif
