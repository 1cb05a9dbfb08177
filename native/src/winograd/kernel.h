// The contract of the kernels that compute a 7x7 convolution with stride 2 by minimal filtering.
//
// The work on a row of tiles: its input is transformed for all filters at once; then, for a few
// tiles and a block of filters at a time, products are added up at each point, and transformed
// back.
#pragma once

#include <cstddef>

#include "bnn/isa.h"
#include "winograd/transform.h"

namespace bnn {

struct WinogradRow {
  // (channels, kWinogradInputRows): rows of the padded image, null where they are padding alone.
  // Each is 2 * kTile columns of `width` floats: column o has the elements 2 * kTile * t + o.
  const float* const* rows;
  std::size_t channels;
  std::size_t width;   // a multiple of 16, at least one more than there are tiles
  float* memory;       // (kPoints, 2 * kTile, width) and 16 more: scratch
  float* transformed;  // (kRows * channels, width)
};

struct WinogradTiles {
  const float* transformed;  // at the first of these tiles
  std::size_t width;
  std::size_t channels;
  std::size_t m;                // tiles, 1 to kWinogradTiles
  const float* panel;           // of a block of filters: (kRows * channels, block)
  float* products;              // (kPoints * kPoints, kWinogradTiles, block): scratch
  float* out[Winograd::kTile];  // (kTile * m pixels, stride) of each output row
  std::size_t stride;
};

inline constexpr std::size_t kWinogradTiles = 6;
inline constexpr int kWinogradInputRows = 2 * Winograd::kPoints - 1;

struct WinogradKernel {
  const char* name;
  Isa needs;
  std::size_t block;  // filters; divides 64
  void (*transform)(const WinogradRow& row);
  void (*multiply)(const WinogradTiles& tiles);
};

// The last row of winograd.inc that `isa` includes.
const WinogradKernel& select_winograd(Isa isa);

// The order of the panel's rows, which is that of the transformed input: visit(i, j, c, p, q) for
// the points (i, j), then the channels, then the parities of row and column.
template <typename Visit>
void for_each_product(std::size_t channels, Visit visit) {
  for (int i = 0; i < Winograd::kPoints; ++i) {
    for (int j = 0; j < Winograd::kPoints; ++j) {
      for (std::size_t c = 0; c < channels; ++c) {
        for (int p = 0; p < Winograd::parities(i); ++p) {
          for (int q = 0; q < Winograd::parities(j); ++q) visit(i, j, c, p, q);
        }
      }
    }
  }
}

}  // namespace bnn
