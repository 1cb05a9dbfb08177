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

void interleave(const float* x, std::size_t count, std::size_t group_channels, float* out) {
  const __m512i from =
      group_channels == 8 ? _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15)
                          : _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
  for (std::size_t i = 0; i < count; i += kLanes) {
    store(out + i, static_cast<Floats>(_mm512_maskz_permutexvar_ps(0xffff, from, load(x + i))));
  }
}

}  // namespace dot_6x64__avx512vpopcntdq

}  // namespace bnn
