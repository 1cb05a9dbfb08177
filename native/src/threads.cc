// A pool of sleeping workers, made when they are first needed.
//
// The caller of parallel_for takes part in its own job. A job is a counter of chunks that its
// threads take from, so a thread that comes late, or never, delays nobody.
#include "bnn/threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bnn {

namespace {

std::atomic<int> thread_count{1};
thread_local bool inside_job = false;

struct Job {
  void (*body)(void*, std::size_t, std::size_t);
  void* context;
  std::size_t count;
  std::size_t chunk;
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> done{0};  // items

  void work() {
    for (;;) {
      const std::size_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= count) return;
      const std::size_t end = std::min(begin + chunk, count);
      body(context, begin, end);
      done.fetch_add(end - begin, std::memory_order_release);
    }
  }
  bool finished() const { return done.load(std::memory_order_acquire) == count; }
};

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Pool {
 public:
  // Offers `job` to `helpers` workers.
  void offer(const std::shared_ptr<Job>& job, int helpers) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (int i = 0; i < helpers; ++i) queue_.push_back(job);
      queued_.fetch_add(helpers, std::memory_order_release);
      while (workers_ < helpers) {
        std::thread([this] { run(); }).detach();
        ++workers_;
      }
    }
    if (helpers == 1) {
      wake_.notify_one();
    } else {
      wake_.notify_all();
    }
  }

 private:
  // A network's layers follow each other within microseconds; waking a sleeper takes tens of them.
  static constexpr int kSpins = 2000;

  void run() {
    inside_job = true;
    for (;;) {
      for (int i = 0; i < kSpins && queued_.load(std::memory_order_acquire) == 0; ++i) pause();
      std::shared_ptr<Job> job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return !queue_.empty(); });
        job = std::move(queue_.front());
        queue_.pop_front();
        queued_.fetch_sub(1, std::memory_order_relaxed);
      }
      job->work();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> queue_;
  std::atomic<int> queued_{0};
  int workers_ = 0;
};

// Never destroyed: its workers outlive static destructors. A forked child has none of its parent's
// workers and makes a pool of its own.
std::atomic<Pool*> instance{nullptr};

Pool& pool() {
  Pool* current = instance.load(std::memory_order_acquire);
  if (current != nullptr) return *current;
#if defined(__unix__) || defined(__APPLE__)
  static const int registered = pthread_atfork(nullptr, nullptr, [] { instance.store(nullptr); });
  (void)registered;
#endif
  Pool* made = new Pool;
  if (instance.compare_exchange_strong(current, made)) return *made;
  delete made;  // another thread was first; no worker has started in this one
  return *current;
}

}  // namespace

void set_num_threads(int threads) { thread_count.store(std::max(threads, 1)); }

int num_threads() { return thread_count.load(); }

void parallel_for(std::size_t count, std::size_t grain,
                  void (*body)(void* context, std::size_t begin, std::size_t end), void* context) {
  if (count == 0) return;
  const std::size_t most = std::max<std::size_t>(count / std::max<std::size_t>(grain, 1), 1);
  const std::size_t threads = std::min<std::size_t>(num_threads(), most);
  if (threads <= 1 || inside_job) {
    body(context, 0, count);
    return;
  }
  const auto job = std::make_shared<Job>();
  job->body = body;
  job->context = context;
  job->count = count;
  // Several chunks for each thread: one that another process interrupts then costs little.
  job->chunk = std::max<std::size_t>((count + threads * 4 - 1) / (threads * 4), grain);
  pool().offer(job, static_cast<int>(threads) - 1);
  inside_job = true;
  job->work();
  inside_job = false;
  // What is left is at most one chunk of each helper.
  for (int spins = 0; !job->finished(); ++spins) {
    if (spins < 10000) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace bnn
