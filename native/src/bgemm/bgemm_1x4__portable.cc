// Binary product, one row by four filters, portable C++ on 64-bit words.
//
//   popcounts[n] = popcount(row xor filter n) over the words of all runs
//
// The panel is the weight itself: this kernel needs no other order, so it takes no memory.
#include "bgemm/bgemm.h"

namespace bnn::bgemm_1x4__portable {

namespace {

constexpr std::size_t kFilters = 4;

inline std::int32_t popcount(word_t x) {
  x -= (x >> 1) & 0x5555555555555555;
  x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
  return static_cast<std::int32_t>((x * 0x0101010101010101) >> 56);
}

}  // namespace

std::size_t panel_bytes(const PanelShape&) { return 0; }

void make_panel(const PanelShape&, const word_t*, void*) {}

void tile(const TileArgs& args) {
  const std::size_t k_words = args.shape.taps * args.shape.tap_words;
  for (std::size_t m = 0; m < args.m; ++m) {
    for (std::size_t n0 = 0; n0 < args.shape.n; n0 += kFilters) {
      const std::size_t filters = n0 + kFilters <= args.shape.n ? kFilters : args.shape.n - n0;
      std::int32_t sums[kFilters] = {};
      for (std::size_t r = 0; r < args.run_count; ++r) {
        const Run& run = args.runs[r];
        const word_t* a = args.rows[m] + run.offset;
        const word_t* w = args.weight + n0 * k_words + run.k;
        for (std::size_t i = 0; i < run.count; ++i) {
          for (std::size_t f = 0; f < filters; ++f) sums[f] += popcount(a[i] ^ w[f * k_words + i]);
        }
      }
      for (std::size_t f = 0; f < filters; ++f) args.popcounts[m * args.stride + n0 + f] = sums[f];
    }
  }
}

}  // namespace bnn::bgemm_1x4__portable
