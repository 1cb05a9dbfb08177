// Concatenation along the channels. Inputs that begin inside a word of the result are shifted; pad
// bits are 0, so parts are joined by OR.
#include <algorithm>

#include "bnn/pool.h"
#include "bnn/threads.h"

namespace bnn {

namespace {

constexpr std::size_t kGrainWords = 32 << 10;  // about 10 us

}  // namespace

void bconcat(std::size_t rows, std::size_t inputs, const word_t* const* x,
             const std::size_t* channels, word_t* out, Isa) {
  std::size_t total = 0;
  for (std::size_t i = 0; i < inputs; ++i) total += channels[i];
  const std::size_t out_words = words(total);
  if (out_words == 0) return;
  parallel_for(rows, kGrainWords / out_words + 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      word_t* to = out + row * out_words;
      word_t open = 0;         // the word that is not full yet
      std::size_t filled = 0;  // its bits
      for (std::size_t i = 0; i < inputs; ++i) {
        const std::size_t in_words = words(channels[i]);
        const word_t* from = x[i] + row * in_words;
        if (filled == 0 && channels[i] % kWordBits == 0) {
          for (std::size_t w = 0; w < in_words; ++w) *to++ = from[w];
          continue;
        }
        for (std::size_t w = 0; w < in_words; ++w) {
          const std::size_t bits = std::min(channels[i] - w * kWordBits, kWordBits);
          open |= from[w] << filled;
          if (filled + bits < kWordBits) {
            filled += bits;
            continue;
          }
          *to++ = open;
          // A shift by a whole word would be undefined.
          open = filled == 0 ? 0 : from[w] >> (kWordBits - filled);
          filled = filled + bits - kWordBits;
        }
      }
      if (filled != 0) *to = open;
    }
  });
}

}  // namespace bnn
