// Where the taps of an output pixel lie inside the image.
//
// A zero-padded tap contributes nothing, but a bit is +1 or -1 and never 0. So border pixels are
// dot products over fewer taps: the output is cut into rectangles whose pixels have the same taps,
// and tiles never cross from one to another. No kernel knows of padding, and no sum is corrected.
#pragma once

#include <vector>

#include "bconv2d/convolution.h"
#include "bgemm/bgemm.h"

namespace bnn {

// A stretch of one output axis whose pixels have the taps [tap_begin, tap_end) inside the image.
struct Stretch {
  std::size_t begin, end;
  std::size_t tap_begin, tap_end;
};

std::vector<Stretch> stretches(std::size_t size, std::size_t out, std::size_t kernel,
                               std::size_t stride, std::size_t dilation, std::size_t pad);

struct Region {
  Stretch y, x;
  std::size_t first_tile;  // tiles are numbered through all regions
  std::vector<Run> runs;   // offsets from the word of the pixel's first tap
  std::int32_t k;          // bits that are compared: taps inside the image times their channels

  std::size_t pixels() const { return (y.end - y.begin) * (x.end - x.begin); }
};

// All rectangles, without empty ones. `mr` rows make a tile.
std::vector<Region> regions(const Convolution& conv, std::size_t mr, std::size_t* tiles);

}  // namespace bnn
