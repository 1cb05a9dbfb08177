// From counted bits, or from float sums, to what the layer gives out, for the rows of one tile.
#pragma once

#include "bnn/epilogue.h"
#include "bnn/isa.h"

namespace bnn {

struct Thresholds;

struct EpilogueTile {
  const Epilogue* epilogue;
  std::size_t channels;           // of the whole output
  std::size_t begin, end;         // those of this tile; begin is a multiple of 64
  std::size_t m;                  // rows
  const std::size_t* pixels;      // (m): each row's pixel in the output; null: they are
  std::size_t first_pixel;        // first_pixel, first_pixel + 1, ...
  const std::int32_t* popcounts;  // (m, stride): of the channels from begin; or null, and
  const float* values;            // (m, stride): what the steps begin with, in place of acc
  std::size_t stride;
  std::int32_t k;                // bits that were compared: acc = k - 2 * popcount
  const Thresholds* thresholds;  // of counts, for bits alone: in place of all steps; or null

  std::size_t pixel(std::size_t i) const { return pixels == nullptr ? first_pixel + i : pixels[i]; }
};

using EpilogueKernel = void (*)(const EpilogueTile& tile);

EpilogueKernel select_epilogue(Isa isa);

}  // namespace bnn
