// How fast an inner loop could be: what benchmarks hold the kernels against.
#pragma once

#include "bnn/isa.h"

namespace bnn {

// Billions of binary operations per second that one core does in the inner loop of `isa`, on
// operands in registers or in the first-level cache. Comparing two bits and counting the result is
// two operations, as a multiplication and an addition are. The best of many runs of some 20 us.
double roof(Isa isa);

// What that loop does, in words.
const char* roof_loop(Isa isa);

}  // namespace bnn
