// Float products, up to 2 vectors of 8 filters, AVX2 with FMA. How: dot_vector.h.
//
// Of 16 registers, 12 hold sums, 2 the panel's vectors and one the broadcast value.
#define BNN_LANES 8
#include "conv2d/dot_vector.h"

namespace bnn {
namespace {

constexpr std::size_t most_pixels(std::size_t vectors) { return 12 / vectors; }

}  // namespace

namespace dot_6x16__avx2 {

std::size_t width(std::size_t n) { return vectors_of(n) * kLanes; }
std::size_t pixels(std::size_t n) { return most_pixels(vectors_of(n)); }
void tile(const FloatTile& tile) { run_tile<2>(tile); }

}  // namespace dot_6x16__avx2

}  // namespace bnn
