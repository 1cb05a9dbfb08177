// Depthwise tile kernels, with the contract of bgemm.h, except that the panel and a run's `count`
// are of all channels: shape.n = channels, tap_words = words(channels), one run for each tap.
#pragma once

#include "bgemm/bgemm.h"

namespace bnn {

struct DepthwiseKernel {
  const char* name;
  Isa needs;
  void (*tile)(const TileArgs& args);
};

// The last row of depthwise.inc that `isa` includes.
const DepthwiseKernel& select_depthwise(Isa isa);

}  // namespace bnn
