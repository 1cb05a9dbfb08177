// Loops over an array whose index is a constant in every step, for files that are compiled for one
// ISA: of an array that is indexed by constants only, GCC keeps every element in a register from
// the first store to the last load. Of one that a loop indexes it does so only inside the innermost
// loop, and around it every element goes through memory, several times.
//
// It must also see that nothing else refers to the array: a step is given the element's value and
// gives the new one back, and no closure holds a reference.
#pragma once

#include <cstddef>
#include <utility>

// Behind the parameters of a closure that is a step.
#define BNN_INLINE __attribute__((always_inline))

namespace bnn {
namespace {

template <typename Value, typename Step, std::size_t... kIndex>
[[gnu::always_inline]] inline void for_each(Value* values, Step step,
                                            std::index_sequence<kIndex...>) {
  ((values[kIndex] = step(values[kIndex], kIndex)), ...);
}

// values[i] = step(values[i], i) for i = 0, 1, ... kCount - 1.
template <std::size_t kCount, typename Value, typename Step>
[[gnu::always_inline]] inline void for_each(Value* values, Step step) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // The same steps: unrolled, instrumented ones take minutes to compile.
  for (std::size_t i = 0; i < kCount; ++i) values[i] = step(values[i], i);
#else
  for_each(values, step, std::make_index_sequence<kCount>());
#endif
}

}  // namespace
}  // namespace bnn
