// The contract of a float tile kernel: the inner part of convolutions, products and pooling.
//
// A tile is up to 16 neighbouring pixels of one output row whose taps all lie inside the image, so
// that no kernel knows of padding. Its input is addressed directly: a base pointer, a step from one
// pixel to the next, and runs.
#pragma once

#include <cstddef>

#include "bnn/epilogue.h"
#include "bnn/isa.h"

namespace bnn {

// `count` floats of x from `offset` after the pixel's base, and the panel's rows that go with them:
// row, row + row_step, ...
struct FloatRun {
  std::ptrdiff_t offset;
  std::size_t row, count;
};

// The epilogues that a kernel computes itself, while the sums are in registers: of the steps in
// bnn/epilogue.h, bias, one activation and the residual on either side of it.
struct FloatSteps {
  const float* bias = nullptr;
  bool relu = false;
  const float* slope = nullptr;            // PReLU's
  const float* residual_before = nullptr;  // the activation
  const float* residual_after = nullptr;
  float* out = nullptr;
  word_t* bits = nullptr;  // only if the kernel writes bits
  const float* bit_scale = nullptr;
  const float* bit_shift = nullptr;
  std::size_t channels = 0;  // of all outputs: multiples of the kernel's vectors
  bool few = false;          // or fewer than its 16 lanes, without bits
};

// Whether the kernels can take an epilogue's steps, and which ones those are. Bits ask for a kernel
// that writes them.
bool are_kernel_steps(const Epilogue& epilogue, FloatSteps* steps);

// `tiles` tiles that follow one another in x and in the output.
struct FloatTile {
  const float* x;    // of the first pixel
  std::size_t step;  // to the next pixel
  const FloatRun* runs;
  std::size_t run_count;
  bool units;  // every run is of one float, which is faster than loops of few steps
  bool pairs;  // and of one more behind it, that of a second group; its filters come by turns
  std::size_t row_step;
  const float* panel;  // of this block of filters (a dot kernel) or of all channels (a lane kernel)
  const float* divisors;  // (tiles, m): of means
  std::size_t tiles;
  std::size_t m;            // pixels of a tile, 1 to the kernel's most
  std::size_t n;            // filters or channels
  const FloatSteps* steps;  // if not null the kernel takes these, for
  std::size_t first_pixel;  // the outputs' pixels from here on, and
  std::size_t first;        // their channels from here on; if null, there is
  float* out;               // (tiles, m, stride): the sums; excess is scratch
  std::size_t stride;       // at least n rounded up to a multiple of 64
};

inline constexpr std::size_t kMostTilePixels = 16;

// Products with filters. A block of up to `block` filters is computed at once; its panel has
// `width(n)` floats for each of its rows, those beyond n are 0.
struct DotKernel {
  const char* name;
  Isa needs;
  std::size_t block;  // divides 64; a kernel whose blocks are of 64 writes bits
  std::size_t (*width)(std::size_t n);
  std::size_t (*pixels)(std::size_t n);  // most pixels of a tile of n filters
  void (*tile)(const FloatTile& tile);
};

// Where groups have 8 filters, two share a vector of 16, and x is read in pairs of floats: one of
// each group. This puts the channels of x into that order, `count` floats, multiples of 16; groups
// have 4 or 8 channels. Null if the ISA's dot kernel does not know tiles with `pairs`.
using Interleave = void (*)(const float* x, std::size_t count, std::size_t group_channels,
                            float* out);
Interleave select_interleave(Isa isa);

// Channel by channel. A run is one tap. The panel of a depthwise convolution has a row of
// lane_width(n) floats for each tap.
struct LaneKernel {
  const char* name;
  Isa needs;
  std::size_t lanes;  // divides 16; a kernel of 16 writes bits, of multiples of 64 channels
  std::size_t pixels;
  void (*depthwise)(const FloatTile& tile);
  void (*maximum)(const FloatTile& tile);  // NaN if any is; of equals the first; of none -inf
  void (*mean)(const FloatTile& tile);     // taps are added in the order of the runs
};

inline std::size_t lane_width(std::size_t n) { return (n + 15) / 16 * 16; }

// The last row of dot.inc or lanes.inc that `isa` includes.
const DotKernel& select_dot(Isa isa);
const LaneKernel& select_lanes(Isa isa);

}  // namespace bnn
