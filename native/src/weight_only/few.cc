// Few pixels, a linear layer's one row above all: bound by reading the weights. All tables are made
// first; then every block of filters is arranged in a cache and used at once.
#include "bnn/threads.h"
#include "weight_only/product.h"

namespace bnn {

void multiply_few(const Product& p) {
  const std::size_t pixels = p.shape.width, size = p.pixel_floats();
  const AlignedArray<float> tables(pixels * size);
  for (std::size_t i = 0; i < pixels; ++i) {
    expand_pixel(p, p.x + i * p.shape.channels, tables.data() + i * size);
  }
  const std::size_t products = pixels * p.shape.group_channels() * p.kernel.filters;
  const std::size_t grain = kGrainProducts / (products + 1) + 1;
  parallel_for(p.blocks(), grain, [&](std::size_t begin, std::size_t end) {
    const AlignedArray<std::uint32_t> bits(p.block_bits());
    std::vector<const word_t*> rows(p.kernel.filters);
    const std::size_t tap = 0;
    for (std::size_t block = begin; block < end; ++block) {
      arrange_block(p, block, rows, bits.data());
      WeightOnlyTile tile = block_tile(p, block, bits.data());
      tile.tap_count = 1;
      tile.taps = &tap;
      for (std::size_t first = 0; first < pixels; first += p.kernel.pixels) {
        const float* places[1][kMaxPixels];
        float* out[kMaxPixels];
        tile.m = std::min(pixels - first, p.kernel.pixels);
        for (std::size_t i = 0; i < tile.m; ++i) {
          places[0][i] = tables.data() + (first + i) * size;
          out[i] = p.out + (first + i) * p.shape.out_channels + p.first_filter(block);
        }
        tile.pixels = places;
        tile.out = out;
        p.kernel.tile(tile);
      }
    }
  });
}

}  // namespace bnn
