// Bits as comparisons of counts.
//
// Where a layer gives out bits alone, a channel's bit is a function of one integer: how many bits
// differ. If it changes at most once, as with all steps that keep an order or reverse it, then
//
//   bit = (popcount > above[c]) != flipped(c)
//
// which is one operation in place of ten. Where it changes is found by the epilogue's own steps, on
// every count that there can be, so every bit is the one that they give.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "epilogue/epilogue.h"

namespace bnn {

struct Thresholds {
  std::vector<std::int32_t> above;  // whole words of channels; pad channels give 0
  std::vector<word_t> flipped;
};

// For sums of k bits; nothing if some channel's bit changes more than once, or if a residual is
// added. `steps` is the kernel that would compute the bits.
std::optional<Thresholds> find_thresholds(const Epilogue& epilogue, std::size_t channels,
                                          std::int32_t k, EpilogueKernel steps);

}  // namespace bnn
