// A pool of threads, and which instruction set the processor has.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <unistd.h>
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

typedef void (*Task)(void* context, int64_t number);

namespace {

struct Pool {
    std::mutex mutex;
    std::condition_variable wake, done;
    int64_t workers = 0, wanted = 0, busy = 0, round = 0, tasks = 0;
    std::atomic<int64_t> next{0};
    Task task = nullptr;
    void* context = nullptr;
    const pid_t process = getpid();  // a child of fork has none of the threads

    void work(int64_t number) {
        std::unique_lock<std::mutex> lock(mutex);
        for (int64_t seen = 0;;) {
            wake.wait(lock, [&] { return round != seen && number < wanted; });
            seen = round;
            lock.unlock();
            take();
            lock.lock();
            if (--busy == 0) done.notify_one();
        }
    }

    void take() {
        for (int64_t n; (n = next.fetch_add(1)) < tasks;) task(context, n);
    }

    void run(int64_t count, int64_t threads, Task what, void* with) {
        {
            std::lock_guard<std::mutex> lock(mutex);
            for (; workers < threads - 1; ++workers) std::thread(&Pool::work, this, workers).detach();
            wanted = busy = threads - 1;
            tasks = count, task = what, context = with, next = 0;
            ++round;
        }
        wake.notify_all();
        take();
        std::unique_lock<std::mutex> lock(mutex);
        done.wait(lock, [&] { return busy == 0; });
        wanted = 0;
    }
};

}  // namespace

// Run task(context, n) for each n below `tasks` on so many threads, this one among them. One caller at a time has the
// pool; another works alone.
extern "C" void meshcast_run(int64_t tasks, int64_t threads, Task task, void* context) {
    static std::mutex one;
    static Pool* pool = nullptr;  // never destroyed: its threads wait until the process ends
    if (threads > tasks) threads = tasks;
    if (threads > 1 && one.try_lock()) {
        if (!pool || pool->process != getpid()) pool = new Pool;
        pool->run(tasks, threads, task, context);
        one.unlock();
        return;
    }
    for (int64_t n = 0; n < tasks; ++n) task(context, n);
}

#if defined(__x86_64__)
// Whether there is AMX for bfloat16, and the system lets this process use it, which it is asked for.
static bool amx() {
#if defined(__linux__)
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const unsigned bfloat16 = 1u << 22, tiles = 1u << 24, request = 0x1023, tile_data = 18;
    return (d & bfloat16) && (d & tiles) && syscall(SYS_arch_prctl, request, tile_data) == 0;
#else
    return false;
#endif
}
#endif

// The best of the instruction sets that message_kernel.cpp is compiled for. Intel's processors multiply pairs of bfloat16
// in vectors more slowly than single numbers.
extern "C" __attribute__((visibility("default"))) int meshcast_isa() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        if (!__builtin_cpu_supports("avx512bf16")) return 2;
        return amx() ? 4 : __builtin_cpu_is("intel") ? 2 : 3;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}
