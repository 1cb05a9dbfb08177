// Working memory that a thread keeps between calls: a network asks for the same again and again.
#pragma once

#include <cstddef>

namespace bnn {

// Memory of the calling thread, aligned to 64 bytes, not initialized. Objects are released in the
// reverse order of their making, as local variables are. What is at most kKeptBytes stays with the
// thread for its next ThreadMemory of the same depth.
class ThreadMemory {
 public:
  static constexpr std::size_t kKeptBytes = 64 << 20;

  explicit ThreadMemory(std::size_t bytes);
  ~ThreadMemory();
  ThreadMemory(const ThreadMemory&) = delete;
  ThreadMemory& operator=(const ThreadMemory&) = delete;

  void* get() const { return data_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
};

}  // namespace bnn
