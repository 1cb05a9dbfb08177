// The contract of a weight-only kernel: sums of float activations whose signs the weights flip.
//
// Four activations have 16 signed sums. A kernel reads them from a table, made once for a pixel and
// used by all filters: a permutation of the table's register looks up one filter's sum per lane,
// with four weight bits as the index, so one addition takes the place of four multiply-adds.
// A kernel whose ISA has no such permutation may keep something else in the tables.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bnn/isa.h"
#include "bnn/word.h"

namespace bnn {

inline constexpr std::size_t kTableInputs = 4;  // activations of a table
inline constexpr std::size_t kMaxPixels = 8;    // no kernel's tile has more

// How many tables hold the activations of a tap.
constexpr std::size_t tables_of(std::size_t channels) {
  return (channels + kTableInputs - 1) / kTableInputs;
}

// Sums of m pixels and n filters, over some taps of the convolution's kernel.
struct WeightOnlyTile {
  std::size_t tables;                        // of a tap
  std::size_t tap_count;                     // taps that are summed, none included
  const std::size_t* taps;                   // (tap_count): which
  const float* const (*pixels)[kMaxPixels];  // (tap_count): the tables of each pixel
  std::size_t offset;                        // floats from there to the group's tables
  std::size_t tap_words;                     // words(channels)
  const std::uint32_t* bits;                 // the arranged block
  std::size_t m, n;                          // 1 to the kernel's pixels and filters
  const float* scale;                        // (n) or null
  const float* bias;                         // (n) or null
  float* const* out;                         // (m): n floats each
};

// Sums of neighbouring pixels where every output channel has input channels of its own, lane by
// lane.
struct LaneRow {
  std::size_t channels, input_count;
  const float* const* x;              // (input_count): channels floats each, of the first pixel
  const std::uint32_t* const* signs;  // (input_count): channels each, the sign bit or 0
  std::size_t pixels, step;           // floats from a pixel's x to the next pixel's
  const float* scale;                 // (channels) or null
  const float* bias;                  // (channels) or null
  float* out;                         // (pixels, channels)
};

struct WeightOnlyKernel {
  const char* name;
  Isa needs;
  std::size_t pixels, filters;  // the most of a tile
  std::size_t table_floats;
  // tables_of(channels) tables of the activations x; missing ones are 0.
  void (*expand)(const float* x, std::size_t channels, float* tables);
  // `filters` rows of `count` words, as (2 * count, filters) half words. May change their bits to
  // suit the tile function.
  void (*arrange)(const word_t* const* rows, std::size_t count, std::uint32_t* bits);
  void (*tile)(const WeightOnlyTile& tile);
  void (*lane_row)(const LaneRow& row);
};

// The kernel where `isa` was asked for.
const WeightOnlyKernel& select_weight_only(Isa isa);

}  // namespace bnn
