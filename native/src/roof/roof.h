// What each file of this folder defines: <stem>::run.
#pragma once

#include <cstddef>

namespace bnn {

// Does the loop's body `steps` times and returns how many binary operations that were. An empty asm
// statement takes what it computes, or the compiler would leave it out.
using RoofLoop = std::size_t (*)(std::size_t steps);

}  // namespace bnn
