#include "epilogue/thresholds.h"

#include <algorithm>
#include <limits>

namespace bnn {

namespace {

constexpr std::size_t kRows = 32;  // counts at a time

// Every channel's bit for the counts [first, first + rows).
class Bits {
 public:
  Bits(const Epilogue& epilogue, std::size_t channels, std::int32_t k, EpilogueKernel steps)
      : epilogue_(epilogue),
        channels_(channels),
        k_(k),
        steps_(steps),
        stride_((words(channels) + 1) * kWordBits),
        counts_(kRows * stride_),
        bits_(kRows * words(channels)) {
    epilogue_.out = nullptr;
    epilogue_.bits = bits_.data();
  }

  const word_t* of(std::size_t first, std::size_t rows) {
    for (std::size_t i = 0; i < rows; ++i) {
      std::fill_n(counts_.begin() + i * stride_, channels_, static_cast<std::int32_t>(first + i));
    }
    EpilogueTile tile{};
    tile.epilogue = &epilogue_;
    tile.channels = tile.end = channels_;
    tile.m = rows;
    tile.popcounts = counts_.data();
    tile.stride = stride_;
    tile.k = k_;
    steps_(tile);
    return bits_.data();
  }

 private:
  Epilogue epilogue_;
  std::size_t channels_;
  std::int32_t k_;
  EpilogueKernel steps_;
  std::size_t stride_;
  std::vector<std::int32_t> counts_;
  std::vector<word_t> bits_;
};

}  // namespace

std::optional<Thresholds> find_thresholds(const Epilogue& epilogue, std::size_t channels,
                                          std::int32_t k, EpilogueKernel steps) {
  if (epilogue.residual_at != ResidualAt::kNone) return std::nullopt;
  const std::size_t row_words = words(channels), counts = static_cast<std::size_t>(k) + 1;
  Bits bits(epilogue, channels, k, steps);
  Thresholds found;
  found.above.assign(row_words * kWordBits, std::numeric_limits<std::int32_t>::max());
  std::vector<word_t> now, changed(row_words);
  for (std::size_t first = 0; first < counts; first += kRows) {
    const std::size_t rows = std::min(kRows, counts - first);
    const word_t* row = bits.of(first, rows);
    if (first == 0) found.flipped = now = std::vector<word_t>(row, row + row_words);
    for (std::size_t count = first; count < first + rows; ++count) {
      for (std::size_t w = 0; w < row_words; ++w, ++row) {
        word_t change = *row ^ now[w];
        if ((change & changed[w]) != 0) return std::nullopt;
        changed[w] |= change;
        now[w] = *row;
        for (; change != 0; change &= change - 1) {
          const std::size_t c = w * kWordBits + static_cast<std::size_t>(__builtin_ctzll(change));
          found.above[c] = static_cast<std::int32_t>(count) - 1;
        }
      }
    }
  }
  return found;
}

}  // namespace bnn
