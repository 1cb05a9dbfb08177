// What the parts of a weight-only product share: sizes, and the weights in the kernel's order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "bnn/weight_only.h"
#include "weight_only/kernel.h"

namespace bnn {

// Uninitialized memory, aligned to a cache line.
template <typename T>
class AlignedArray {
 public:
  explicit AlignedArray(std::size_t size) : memory_(new char[size * sizeof(T) + kLine]) {
    const std::size_t past = reinterpret_cast<std::uintptr_t>(memory_) % kLine;
    data_ = reinterpret_cast<T*>(memory_ + (kLine - past) % kLine);
  }
  ~AlignedArray() { delete[] memory_; }
  AlignedArray(const AlignedArray&) = delete;
  AlignedArray& operator=(const AlignedArray&) = delete;

  T* data() const { return data_; }

 private:
  static constexpr std::size_t kLine = 64;
  char* memory_;
  T* data_;
};

struct Product {
  const ConvShape& shape;
  const float* x;
  const word_t* weight;
  const float* scale;
  const float* bias;
  float* out;
  const WeightOnlyKernel& kernel;

  std::size_t taps() const { return shape.kernel_h * shape.kernel_w; }
  std::size_t tap_words() const { return words(shape.group_channels()); }
  std::size_t tap_tables() const { return tables_of(shape.group_channels()); }
  // Floats of a group's tables, and of a pixel's.
  std::size_t group_floats() const { return tap_tables() * kernel.table_floats; }
  std::size_t pixel_floats() const { return shape.groups * group_floats(); }
  // A block is up to kernel.filters filters of one group.
  std::size_t group_blocks() const {
    return (shape.group_out_channels() + kernel.filters - 1) / kernel.filters;
  }
  std::size_t blocks() const { return shape.groups * group_blocks(); }
  std::size_t block_bits() const { return 2 * taps() * tap_words() * kernel.filters; }
  std::size_t first_filter(std::size_t block) const {
    return block / group_blocks() * shape.group_out_channels() +
           block % group_blocks() * kernel.filters;
  }
  std::size_t block_filters(std::size_t block) const {
    const std::size_t skipped = block % group_blocks() * kernel.filters;
    return std::min(shape.group_out_channels() - skipped, kernel.filters);
  }
};

// The tables of a pixel, group after group.
inline void expand_pixel(const Product& p, const float* x, float* tables) {
  for (std::size_t g = 0; g < p.shape.groups; ++g) {
    const std::size_t channels = p.shape.group_channels();
    p.kernel.expand(x + g * channels, channels, tables + g * p.group_floats());
  }
}

// `rows` is scratch of kernel.filters. Filters that a last block lacks repeat the last one.
inline void arrange_block(const Product& p, std::size_t block, std::vector<const word_t*>& rows,
                          std::uint32_t* bits) {
  const std::size_t first = p.first_filter(block), n = p.block_filters(block);
  const std::size_t count = p.taps() * p.tap_words();
  for (std::size_t i = 0; i < p.kernel.filters; ++i) {
    rows[i] = p.weight + (first + std::min(i, n - 1)) * count;
  }
  p.kernel.arrange(rows.data(), count, bits);
}

// A tile of `block`; taps, pixels and m are the caller's to fill in. `out`: m pointers.
inline WeightOnlyTile block_tile(const Product& p, std::size_t block, const std::uint32_t* bits) {
  const std::size_t first = p.first_filter(block);
  WeightOnlyTile tile{};
  tile.tables = p.tap_tables();
  tile.offset = block / p.group_blocks() * p.group_floats();
  tile.tap_words = p.tap_words();
  tile.bits = bits;
  tile.n = p.block_filters(block);
  tile.scale = p.scale == nullptr ? nullptr : p.scale + first;
  tile.bias = p.bias == nullptr ? nullptr : p.bias + first;
  return tile;
}

// Each is a way to compute the product.
void multiply_few(const Product& p);    // 1x1, few pixels: threads share the filters
void multiply_rows(const Product& p);   // any shape: threads share the rows of the output
void multiply_lanes(const Product& p);  // any shape, made for groups of few output channels

// Multiply-adds that are worth a thread: about 20 us.
inline constexpr std::size_t kGrainProducts = 1 << 20;

}  // namespace bnn
