// The contract of the kernels that compute a 7x7 convolution with stride 2 by minimal filtering.
//
// The rows of the image are split into columns, so that a vector holds what neighbouring tiles have
// at one place. Then, for a row of tiles: its input is transformed for all filters at once; for a
// few tiles and a block of filters at a time, products are added up at each point, and transformed
// back.
#pragma once

#include <cstddef>

#include "bnn/isa.h"
#include "conv2d/tile.h"
#include "winograd/transform.h"

namespace bnn {

inline constexpr int kWinogradColumns = 2 * Winograd::kTile;
inline constexpr int kWinogradInputRows = 2 * Winograd::kPoints - 1;

struct WinogradRow {
  // (channels, kWinogradInputRows): rows of the padded image, null where they are padding alone.
  // Each is kWinogradColumns columns, as `split` gives them, of which `width` floats are read.
  const float* const* rows;
  std::size_t stride;  // from a column to the next
  std::size_t channels;
  std::size_t width;   // a multiple of 16, at least one more than there are tiles
  float* memory;       // (kPoints, kWinogradColumns, width) and 16 more: scratch
  float* transformed;  // (kRows * channels, width)
};

// The maximum of 3x3 pixels with stride 2 and a padding of 1, in place of the pixels.
struct WinogradPool {
  std::size_t rows, columns;  // of pixels that the output has from these tiles on: they may end
  float* left;   // (kTile, block): the pixels left of these tiles; then their last ones
  float* above;  // (2 * m, stride): the maxima along the row above; then along the last row
  float* out[Winograd::kTile / 2];  // (2 * m, stride) of each row
  std::size_t stride;
};

struct WinogradTiles {
  const float* transformed;  // at the first of these tiles
  std::size_t width;
  std::size_t channels;
  std::size_t m;                        // tiles, 1 to the kernel's `tiles`
  const float* panel;                   // of a block of filters: (kRows * channels, block)
  float* memory;                        // (kWinogradSums, tiles, block): scratch
  const FloatSteps* steps;              // if not null the kernel takes these, for
  std::size_t first;                    // the outputs' channels from here on, and
  std::size_t pixels[Winograd::kTile];  // the kTile * m pixels from here on, of each output row;
  float* out[Winograd::kTile];          // if null, (kTile * m, stride) of each row: the sums
  std::size_t stride;
  const WinogradPool* pool;  // if not null, where the pixels go; `steps` keep their order and
                             // have no outputs then
};

// Products of one column of points, and what all columns become.
inline constexpr std::size_t kWinogradSums = Winograd::kPoints * (1 + Winograd::kTile);

struct WinogradKernel {
  const char* name;
  Isa needs;
  std::size_t tiles;  // that are computed at once
  std::size_t block;  // filters of a block; divides 64
  std::size_t part;   // tiles whose input is transformed at once, then used; 0: a row's
  // out[o * width + t] = x[kWinogradColumns * t + o - pad], 0 outside of x.
  void (*split)(const float* x, std::size_t size, std::size_t pad, std::size_t width, float* out);
  void (*transform)(const WinogradRow& row);
  void (*multiply)(const WinogradTiles& tiles);
};

// The last row of winograd.inc that `isa` includes.
const WinogradKernel& select_winograd(Isa isa);

// The order of the panel's rows, which is that of the transformed input: visit(i, j, c, p, q) for
// the points (i, j), column by column, then the channels, then the parities of row and column.
template <typename Visit>
void for_each_product(std::size_t channels, Visit visit) {
  for (int j = 0; j < Winograd::kPoints; ++j) {
    for (int i = 0; i < Winograd::kPoints; ++i) {
      for (std::size_t c = 0; c < channels; ++c) {
        for (int p = 0; p < Winograd::parities(i); ++p) {
          for (int q = 0; q < Winograd::parities(j); ++q) visit(i, j, c, p, q);
        }
      }
    }
  }
}

}  // namespace bnn
