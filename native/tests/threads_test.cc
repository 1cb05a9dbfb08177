// The thread pool: what parallel_for promises, from one thread, from many, and after fork().
#include "bnn/threads.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "check.h"

#if defined(__SANITIZE_THREAD__)
#define BNN_TSAN 1
#else
#define BNN_TSAN 0
#endif

namespace bnn::test {
namespace {

constexpr char kForkAndTsan[] = "the thread sanitizer allows no threads in a forked child";

// Calls parallel_for and says whether each index came exactly once.
bool covers(std::size_t count, std::size_t grain) {
  std::vector<std::atomic<int>> seen(count);
  std::atomic<bool> in_range{true};
  parallel_for(count, grain, [&](std::size_t begin, std::size_t end) {
    if (begin >= end || end > count) in_range = false;
    for (std::size_t i = begin; i < end && i < count; ++i) seen[i].fetch_add(1);
  });
  for (const std::atomic<int>& times : seen) {
    if (times.load() != 1) return false;
  }
  return in_range;
}

// The threads that took part, for a job long enough that all can.
std::size_t threads_of_job(std::size_t count, std::size_t grain) {
  std::mutex mutex;
  std::set<std::thread::id> ids;
  parallel_for(count, grain, [&](std::size_t, std::size_t) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      ids.insert(std::this_thread::get_id());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  return ids.size();
}

}  // namespace

BNN_TEST(threads_number_is_at_least_one) {
  const Threads restore(1);
  for (const int wanted : {0, -1, -1000}) {
    set_num_threads(wanted);
    check(num_threads() == 1, "set %d, got %d", wanted, num_threads());
  }
  set_num_threads(7);
  check(num_threads() == 7, "set 7, got %d", num_threads());
}

BNN_TEST(threads_cover_every_index_once) {
  for (const int threads : {1, 2, 3, 4, 8, 17}) {
    const Threads restore(threads);
    for (const std::size_t count : {0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, 4099}) {
      for (const std::size_t grain : {0, 1, 2, 3, 10, 64, 5000}) {
        check(covers(count, grain), "%d threads, %zu items, grain %zu", threads, count, grain);
      }
    }
  }
}

BNN_TEST(threads_many_short_jobs) {
  const Threads restore(4);
  std::atomic<std::size_t> sum{0};
  const std::size_t jobs = effort(5000);
  for (std::size_t job = 0; job < jobs; ++job) {
    parallel_for(8, 1, [&](std::size_t begin, std::size_t end) { sum += end - begin; });
  }
  check(sum == jobs * 8, "%zu items of %zu", sum.load(), jobs * 8);
}

BNN_TEST(threads_no_more_than_asked_for) {
  for (const int threads : {1, 2, 3}) {
    const Threads restore(threads);
    const std::size_t used = threads_of_job(64, 1);
    check(used <= static_cast<std::size_t>(threads), "%zu threads, not %d", used, threads);
  }
}

BNN_TEST(threads_take_part) {
  const Threads restore(2);
  // A machine may be too busy to wake the worker once; not twenty times.
  for (int attempt = 0; attempt < 20; ++attempt) {
    if (threads_of_job(64, 1) == 2) return;
  }
  check(false, "the second thread never took part");
}

BNN_TEST(threads_leave_small_jobs_to_the_caller) {
  const Threads restore(4);
  const std::thread::id caller = std::this_thread::get_id();
  bool same = true;
  int calls = 0;
  parallel_for(19, 10, [&](std::size_t, std::size_t) {
    same = same && std::this_thread::get_id() == caller;
    ++calls;
  });
  check(same && calls == 1, "fewer than 2 * grain items: %d calls", calls);
}

BNN_TEST(threads_nested_calls_stay_in_their_thread) {
  const Threads restore(4);
  std::atomic<bool> same{true};
  std::atomic<std::size_t> items{0};
  parallel_for(32, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::thread::id outer = std::this_thread::get_id();
      parallel_for(100, 1, [&](std::size_t from, std::size_t to) {
        if (std::this_thread::get_id() != outer) same = false;
        items += to - from;
      });
    }
  });
  check(same, "a nested call went to another thread");
  check(items == 3200, "%zu items of 3200", items.load());
}

// A nested call must not end its thread's being inside a job.
BNN_TEST(threads_two_nested_calls) {
  const Threads restore(4);
  std::atomic<bool> same{true};
  parallel_for(16, 1, [&](std::size_t, std::size_t) {
    const std::thread::id outer = std::this_thread::get_id();
    for (int call = 0; call < 3; ++call) {
      parallel_for(8, 1, [&](std::size_t, std::size_t) {
        if (std::this_thread::get_id() != outer) same = false;
      });
    }
  });
  check(same, "a later nested call went to another thread");
}

BNN_TEST(threads_many_callers) {
  const Threads restore(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  const int calls = effort(200);
  for (std::size_t caller = 0; caller < 8; ++caller) {
    callers.emplace_back([&wrong, caller, calls] {
      for (int call = 0; call < calls; ++call) {
        if (!covers(50 + 13 * caller, 1 + caller % 3)) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  check(wrong == 0, "%d wrong calls", wrong.load());
}

BNN_TEST(threads_number_changes_meanwhile) {
  const Threads restore(1);
  std::atomic<bool> stop{false};
  std::thread changer([&stop] {
    for (int threads = 0; !stop; threads = (threads + 1) % 9) {
      set_num_threads(threads);
      std::this_thread::yield();
    }
  });
  int wrong = 0;
  for (int call = 0; call < effort(1000); ++call) wrong += covers(97, 1 + call % 5) ? 0 : 1;
  stop = true;
  changer.join();
  check(wrong == 0, "%d wrong calls", wrong);
}

// PyTorch's DataLoader forks. A child has none of the pool's threads and must not wait for them.
BNN_TEST(threads_work_after_fork) {
  if (BNN_TSAN) skip(kForkAndTsan);
  const Threads restore(4);
  check(covers(1000, 1), "before the fork");
  for (int round = 0; round < 5; ++round) {
    const pid_t child = fork();
    check(child >= 0, "fork failed");
    if (child == 0) {
      alarm(60);  // a child that waits for ever ends by SIGALRM
      bool ok = true;
      for (int call = 0; call < 20; ++call) ok = ok && covers(1000, 1);
      _exit(ok && threads_of_job(64, 1) <= 4 ? 0 : 1);
    }
    check(covers(1000, 1), "in the parent");
    int status = 0;
    check(waitpid(child, &status, 0) == child, "waitpid failed");
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status %d", status);
  }
}

// A fork while other threads hold the pool's lock: the child's pool has a lock of its own.
BNN_TEST(threads_fork_while_others_work) {
  if (BNN_TSAN) skip(kForkAndTsan);
  const Threads restore(3);
  std::atomic<bool> stop{false};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&stop] {
      while (!stop) parallel_for(8, 1, [](std::size_t, std::size_t) {});
    });
  }
  int bad = 0;
  for (int round = 0; round < effort(20); ++round) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      std::atomic<std::size_t> items{0};
      parallel_for(100, 1, [&](std::size_t begin, std::size_t end) { items += end - begin; });
      _exit(items == 100 ? 0 : 1);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) ++bad;
  }
  stop = true;
  for (std::thread& caller : callers) caller.join();
  check(bad == 0, "%d children failed", bad);
}

}  // namespace bnn::test
