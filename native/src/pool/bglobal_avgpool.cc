// Mean of +1 and -1 over all pixels.
//
//   sum = pixels - 2 * (number of bits 1), an exact integer; mean = float(sum) / float(pixels)
//
// Bits are counted in carry-save form: plane k holds bit k of 64 counters, so that adding a word is
// a ripple of AND and XOR, which ends after two planes on average.
#include <algorithm>
#include <cstdint>

#include "bnn/pool.h"
#include "bnn/threads.h"

namespace bnn {

namespace {

constexpr int kPlanes = 8;
constexpr std::size_t kPlaneMax = (1 << kPlanes) - 1;  // pixels that the planes can count
constexpr std::size_t kGrainWords = 16 << 10;          // about 10 us

// counts[i] += how many of the words have bit i, for up to kPlaneMax words.
void count_some(const word_t* x, std::size_t stride, std::size_t pixels, std::int64_t* counts) {
  word_t planes[kPlanes] = {};
  for (std::size_t p = 0; p < pixels; ++p) {
    word_t carry = x[p * stride];
    for (int k = 0; carry != 0; ++k) {
      const word_t sum = planes[k] ^ carry;
      carry &= planes[k];
      planes[k] = sum;
    }
  }
  for (std::size_t i = 0; i < kWordBits; ++i) {
    std::int64_t count = 0;
    for (int k = 0; k < kPlanes; ++k) {
      count |= static_cast<std::int64_t>(planes[k] >> i & 1) << k;
    }
    counts[i] += count;
  }
}

}  // namespace

void bglobal_avgpool(std::size_t batch, std::size_t pixels, std::size_t channels, const word_t* x,
                     float* out, Isa) {
  const std::size_t row_words = words(channels);
  const std::size_t grain = kGrainWords / std::max<std::size_t>(pixels, 1) + 1;
  parallel_for(batch * row_words, grain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t item = begin; item < end; ++item) {
      const std::size_t image = item / row_words, w = item % row_words;
      const word_t* from = x + image * pixels * row_words + w;
      std::int64_t counts[kWordBits] = {};
      for (std::size_t p = 0; p < pixels; p += kPlaneMax) {
        count_some(from + p * row_words, row_words, std::min(pixels - p, kPlaneMax), counts);
      }
      const std::size_t first = w * kWordBits, last = std::min(first + kWordBits, channels);
      for (std::size_t c = first; c < last; ++c) {
        const std::int64_t sum = static_cast<std::int64_t>(pixels) - 2 * counts[c - first];
        out[image * channels + c] = static_cast<float>(sum) / static_cast<float>(pixels);
      }
    }
  });
}

}  // namespace bnn
