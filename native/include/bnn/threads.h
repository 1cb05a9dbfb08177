// The thread pool that every operation shares.
#pragma once

#include <cstddef>

namespace bnn {

// The number of threads an operation may use, the caller's included. At least 1.
void set_num_threads(int threads);
int num_threads();

// Calls body(context, begin, end) on disjoint ranges that cover [0, count), on several threads when
// there are at least 2 * grain items. Returns when all have ended. May be called from many threads
// at once; a nested call runs on its own thread alone. `body` must not throw.
void parallel_for(std::size_t count, std::size_t grain,
                  void (*body)(void* context, std::size_t begin, std::size_t end), void* context);

// The same for a callable: parallel_for(n, grain, [&](size_t begin, size_t end) { ... }).
template <typename Body>
void parallel_for(std::size_t count, std::size_t grain, Body&& body) {
  parallel_for(
      count, grain,
      [](void* context, std::size_t begin, std::size_t end) {
        (*static_cast<Body*>(context))(begin, end);
      },
      &body);
}

}  // namespace bnn
