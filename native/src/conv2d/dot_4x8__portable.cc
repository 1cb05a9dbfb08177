// Float products, up to 2 vectors of 4 filters, portable vectors. How: dot_vector.h.
#define BNN_LANES 4
#include "conv2d/dot_vector.h"

namespace bnn {
namespace {

constexpr std::size_t most_pixels(std::size_t vectors) { return vectors == 1 ? 6 : 4; }

}  // namespace

namespace dot_4x8__portable {

std::size_t width(std::size_t n) { return vectors_of(n) * kLanes; }
std::size_t pixels(std::size_t n) { return most_pixels(vectors_of(n)); }
void tile(const FloatTile& tile) { run_tile<2>(tile); }

}  // namespace dot_4x8__portable

}  // namespace bnn
