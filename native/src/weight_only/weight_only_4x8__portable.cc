// Weight-only tile of 4 pixels and 8 filters, portable vectors.
//
//   out[m][n] = scale[n] * sum of (x[m][k], its sign flipped where the weight's bit is 1) + bias[n]
//
// No portable permutation: a table holds its four activations, each in all lanes.
#define BNN_LANES 4
#include "weight_only/kernel.h"

namespace bnn {
namespace {

constexpr std::size_t kFilters = 8, kTableFloats = 16;
constexpr int kPixels = 4, kVectors = 2;

}  // namespace
}  // namespace bnn

#include "weight_only/vector.h"

namespace bnn {
namespace {

template <int M, int V>
inline void add_table(const float* const* tables, std::size_t offset, Bits* bits,
                      Floats (*sums)[V]) {
  for (std::size_t k = 0; k < kTableInputs; ++k) {
    for (int v = 0; v < V; ++v) {
      const Bits signs = bits[v] << 31;
      bits[v] >>= 1;
      for (int m = 0; m < M; ++m) {
        sums[m][v] += flip(load(tables[m] + offset + k * kLanes), signs);
      }
    }
  }
}

}  // namespace

namespace weight_only_4x8__portable {

void expand(const float* x, std::size_t channels, float* tables) {
  const std::size_t inputs = tables_of(channels) * kTableInputs;
  for (std::size_t c = 0; c < inputs; ++c) {
    store(tables + c * kLanes, Floats{} + (c < channels ? x[c] : 0.0f));
  }
}

void arrange(const word_t* const* rows, std::size_t count, std::uint32_t* bits) {
  for (std::size_t w = 0; w < count; ++w, bits += 2 * kFilters) {
    for (std::size_t n = 0; n < kFilters; ++n) {
      bits[n] = static_cast<std::uint32_t>(rows[n][w]);
      bits[kFilters + n] = static_cast<std::uint32_t>(rows[n][w] >> 32);
    }
  }
}

void tile(const WeightOnlyTile& tile) { run_tile(tile); }

void lane_row(const LaneRow& row) { run_lane_row(row); }

}  // namespace weight_only_4x8__portable

}  // namespace bnn
