// Float products, up to 4 vectors of 16 filters, AVX-512. How: dot_vector.h.
//
// Of 32 registers, at most 24 hold sums, V the panel's vectors and one the broadcast value. Fewer
// filters leave room for more pixels, which then share a vector of the panel.
#define BNN_LANES 16
#include "conv2d/dot_vector.h"

namespace bnn {
namespace {

constexpr std::size_t most_pixels(std::size_t vectors) { return vectors == 1 ? 12 : 24 / vectors; }

}  // namespace

namespace dot_6x64__avx512vpopcntdq {

std::size_t width(std::size_t n) { return vectors_of(n) * kLanes; }
std::size_t pixels(std::size_t n) { return most_pixels(vectors_of(n)); }
void tile(const FloatTile& tile) { run_tile<4>(tile); }

}  // namespace dot_6x64__avx512vpopcntdq

}  // namespace bnn
