#include "bnn/program.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace bnn {

void Program::use(Slot slot) { slots_ = std::max<std::size_t>(slots_, slot + 1); }

void Program::add(std::string name, std::initializer_list<Slot> used,
                  std::function<void(Addresses)> operation) {
  for (const Slot slot : used) use(slot);
  operations_.push_back({std::move(name), std::move(operation)});
}

void Program::run(Addresses addresses) const {
  for (const Operation& operation : operations_) operation.run(addresses);
}

void Program::run_timed(Addresses addresses, std::int64_t* nanoseconds) const {
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin = Clock::now();
  for (const Operation& operation : operations_) {
    operation.run(addresses);
    const Clock::time_point end = Clock::now();
    *nanoseconds++ = std::chrono::duration_cast<std::chrono::nanoseconds>(end - begin).count();
    begin = end;
  }
}

}  // namespace bnn
