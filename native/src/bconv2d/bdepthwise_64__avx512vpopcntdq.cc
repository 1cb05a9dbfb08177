// Depthwise convolution, 64 channels at once, compiled for AVX-512. How: depthwise.h.
#include <immintrin.h>

#define BNN_LANES 4
#include "bconv2d/depthwise.h"

namespace bnn {
namespace {

// A plane is a mask of bytes.
template <int Planes>
inline void spread(const word_t* planes, std::size_t step, std::int32_t* out) {
  __m512i sums = _mm512_maskz_set1_epi8(planes[0], 1);
#pragma GCC unroll 8
  for (int j = 1; j < Planes; ++j) {
    const __m512i value = _mm512_set1_epi8(static_cast<char>(1 << j));
    sums = _mm512_mask_add_epi8(sums, planes[j * step], sums, value);
  }
  // With zeroing masks: GCC 12 warns of the undefined registers in the plain forms.
  const __m128i parts[] = {
      _mm512_maskz_extracti32x4_epi32(0xf, sums, 0), _mm512_maskz_extracti32x4_epi32(0xf, sums, 1),
      _mm512_maskz_extracti32x4_epi32(0xf, sums, 2), _mm512_maskz_extracti32x4_epi32(0xf, sums, 3)};
  for (int i = 0; i < 4; ++i) {
    _mm512_storeu_si512(out + 16 * i, _mm512_maskz_cvtepu8_epi32(0xffff, parts[i]));
  }
}

}  // namespace

namespace bdepthwise_64__avx512vpopcntdq {

void tile(const TileArgs& args) { depthwise_tile(args); }

}  // namespace bdepthwise_64__avx512vpopcntdq
}  // namespace bnn
