// gradient kernels in vectors of 4, portable vectors. How: vector.h.
#define BNN_KERNEL gradients_4__portable
#define BNN_LANES 4
#include "gradients/vector.h"

namespace bnn {
namespace {

inline word_t lane_bits(Ints mask) {
  std::int32_t bits = 0;
  for (std::size_t i = 0; i < kLanes; ++i) bits |= mask[i] & 1 << i;
  return static_cast<word_t>(bits);
}

}  // namespace

}  // namespace bnn
