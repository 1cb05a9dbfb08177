// Binary maximum pooling.
//
//   max(+1, -1) = +1; bit = (x < 0), so the maximum's bit is the AND of the bits.
//
// A window is separable: its rows are combined first, which reads whole rows of the image and
// vectorises, then its columns. Padding takes no part, and pad bits, 0 in every tap, stay 0.
#include <algorithm>
#include <vector>

#include "bnn/pool.h"
#include "bnn/threads.h"
#include "pool/window.h"

namespace bnn {

namespace {

constexpr std::size_t kGrainWords = 64 << 10;  // words read: about 10 us

// row[i] = AND of the window's rows of the image.
void combine_rows(const word_t* image, std::size_t row_words, Taps taps, std::size_t dilation,
                  word_t* __restrict row) {
  const word_t* from = image + taps.first * row_words;
  std::copy(from, from + row_words, row);
  for (std::size_t k = 1; k < taps.count(); ++k) {
    from += dilation * row_words;
    for (std::size_t i = 0; i < row_words; ++i) row[i] &= from[i];
  }
}

void combine_columns(const PoolShape& s, const word_t* row, word_t* out) {
  const std::size_t pixel_words = words(s.channels), step = s.dilation_w * pixel_words;
  for (std::size_t ox = 0; ox < s.out_w; ++ox) {
    const Taps taps = taps_inside(ox, s.stride_w, s.dilation_w, s.kernel_w, s.pad_left, s.width);
    const word_t* from = row + taps.first * pixel_words;
    for (std::size_t w = 0; w < pixel_words; ++w, ++from) {
      word_t all = *from;
      for (std::size_t k = 1; k < taps.count(); ++k) all &= from[k * step];
      *out++ = all;
    }
  }
}

}  // namespace

void bmaxpool2d(const PoolShape& s, const word_t* x, word_t* out, Isa) {
  const std::size_t row_words = s.width * words(s.channels);
  const std::size_t out_words = s.out_w * words(s.channels);
  const std::size_t grain = kGrainWords / std::max<std::size_t>(row_words * s.kernel_h, 1) + 1;
  parallel_for(s.batch * s.out_h, grain, [&](std::size_t begin, std::size_t end) {
    std::vector<word_t> row(row_words);
    for (std::size_t i = begin; i < end; ++i) {
      const word_t* image = x + i / s.out_h * s.height * row_words;
      const Taps taps =
          taps_inside(i % s.out_h, s.stride_h, s.dilation_h, s.kernel_h, s.pad_top, s.height);
      combine_rows(image, row_words, taps, s.dilation_h, row.data());
      combine_columns(s, row.data(), out + i * out_words);
    }
  });
}

}  // namespace bnn
