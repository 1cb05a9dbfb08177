#include "thread_memory.h"

#include <memory>
#include <new>
#include <vector>

namespace bnn {

namespace {

constexpr std::align_val_t kAlign{64};

struct Free {
  void operator()(void* memory) const { ::operator delete(memory, kAlign); }
};

struct Block {
  std::unique_ptr<void, Free> memory;
  std::size_t bytes = 0;
};

// Block i is that of the i-th ThreadMemory that lives at the same time.
struct Blocks {
  std::vector<Block> all;
  std::size_t used = 0;
};

thread_local Blocks blocks;

}  // namespace

ThreadMemory::ThreadMemory(std::size_t bytes) {
  if (blocks.used == blocks.all.size()) blocks.all.emplace_back();
  Block& block = blocks.all[blocks.used];
  if (block.memory == nullptr || block.bytes < bytes) {
    block.memory.reset();
    block.bytes = 0;
    block.memory.reset(::operator new(bytes == 0 ? 1 : bytes, kAlign));
    block.bytes = bytes;
  }
  data_ = block.memory.get();
  ++blocks.used;
}

ThreadMemory::~ThreadMemory() {
  Block& block = blocks.all[--blocks.used];
  if (block.bytes > kKeptBytes) block = Block();
}

}  // namespace bnn
