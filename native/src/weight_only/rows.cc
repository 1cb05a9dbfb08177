// Weight-only convolution, row by row.
//
// The tables of the input rows that a row of the output needs are kept in a ring, so that the next
// row of the output makes those of few new rows. A strip of columns is so narrow that the ring
// stays in a cache. Taps in the padding read tables of zeros, or are left out where the whole tile
// has them there.
#include "bnn/threads.h"
#include "weight_only/product.h"

namespace bnn {

namespace {

constexpr std::size_t kRingBytes = 384 << 10;  // most second-level caches hold it
constexpr std::size_t kNoRow = ~std::size_t{0};

struct Strips {
  std::size_t width;  // output columns of a strip
  std::size_t count;
  std::size_t span;  // input columns that a strip needs
  std::size_t slots;
};

std::size_t span_of(const ConvShape& s, std::size_t width) {
  return (width - 1) * s.stride_w + (s.kernel_w - 1) * s.dilation_w + 1;
}

Strips plan_strips(const Product& p) {
  const ConvShape& s = p.shape;
  Strips strips{};
  strips.slots = (s.kernel_h - 1) * s.dilation_h + 1;
  const std::size_t column_bytes = strips.slots * p.pixel_floats() * sizeof(float);
  const std::size_t least = p.kernel.pixels;
  strips.width = least;
  while (span_of(s, strips.width + least) * column_bytes <= kRingBytes &&
         strips.width < s.out_w()) {
    strips.width += least;
  }
  strips.count = (s.out_w() + strips.width - 1) / strips.width;
  strips.span = span_of(s, strips.width);
  return strips;
}

// One thread's working memory.
class RowWorker {
 public:
  RowWorker(const Product& p, const Strips& strips, const std::uint32_t* bits)
      : p_(p),
        s_(p.shape),
        strips_(strips),
        bits_(bits),
        pixel_floats_(p.pixel_floats()),
        ring_(strips.slots * strips.span * pixel_floats_),
        zeros_(pixel_floats_),
        rows_(strips.slots, kNoRow),
        taps_(p.taps()),
        places_(p.taps() * kMaxPixels) {
    std::fill(zeros_.data(), zeros_.data() + pixel_floats_, 0.0f);
  }

  // The blocks [begin, end) of a strip's part of a row of the output.
  void run(std::size_t image, std::size_t strip, std::size_t oy, std::size_t begin,
           std::size_t end) {
    if (image != image_ || strip != strip_) {
      std::fill(rows_.begin(), rows_.end(), kNoRow);
      image_ = image;
      strip_ = strip;
    }
    for (std::size_t ky = 0; ky < s_.kernel_h; ++ky) {
      const std::size_t iy = input_row(oy, ky);
      if (iy < s_.height) fill_row(iy);
    }
    const std::size_t first = strip * strips_.width;
    const std::size_t last = std::min(first + strips_.width, s_.out_w());
    for (std::size_t ox = first; ox < last; ox += p_.kernel.pixels) {
      const std::size_t m = std::min(last - ox, p_.kernel.pixels);
      run_tile(oy, ox, m, find_taps(oy, ox, m), begin, end);
    }
  }

 private:
  // Above and left of the image the difference wraps around, to beyond its end.
  std::size_t input_row(std::size_t oy, std::size_t ky) const {
    return oy * s_.stride_h + ky * s_.dilation_h - s_.pad_top;
  }
  std::size_t input_column(std::size_t ox, std::size_t kx) const {
    return ox * s_.stride_w + kx * s_.dilation_w - s_.pad_left;
  }

  // `column` counts from the strip's first input column, which may lie in the padding.
  float* tables(std::size_t iy, std::size_t column) const {
    return ring_.data() + (iy % strips_.slots * strips_.span + column) * pixel_floats_;
  }

  void fill_row(std::size_t iy) {
    if (rows_[iy % strips_.slots] == iy) return;
    rows_[iy % strips_.slots] = iy;
    const float* row = p_.x + (image_ * s_.height + iy) * s_.width * s_.channels;
    for (std::size_t column = 0; column < strips_.span; ++column) {
      const std::size_t ix = input_column(strip_ * strips_.width, 0) + column;
      if (ix < s_.width && is_used(column)) {
        expand_pixel(p_, row + ix * s_.channels, tables(iy, column));
      }
    }
  }

  // A stride may leave columns out.
  bool is_used(std::size_t column) const {
    for (std::size_t kx = 0; kx < s_.kernel_w && kx * s_.dilation_w <= column; ++kx) {
      if ((column - kx * s_.dilation_w) % s_.stride_w == 0) return true;
    }
    return false;
  }

  // Lists the taps with a pixel in the image, and where the tables are; returns how many.
  std::size_t find_taps(std::size_t oy, std::size_t ox, std::size_t m) {
    const std::size_t before = input_column(strip_ * strips_.width, 0);
    std::size_t count = 0;
    for (std::size_t ky = 0; ky < s_.kernel_h; ++ky) {
      const std::size_t iy = input_row(oy, ky);
      if (iy >= s_.height) continue;
      for (std::size_t kx = 0; kx < s_.kernel_w; ++kx) {
        bool any = false;
        for (std::size_t i = 0; i < m; ++i) {
          const std::size_t ix = input_column(ox + i, kx);
          const bool inside = ix < s_.width;
          any |= inside;
          places_[count * kMaxPixels + i] = inside ? tables(iy, ix - before) : zeros_.data();
        }
        taps_[count] = ky * s_.kernel_w + kx;
        count += any;
      }
    }
    return count;
  }

  void run_tile(std::size_t oy, std::size_t ox, std::size_t m, std::size_t tap_count,
                std::size_t begin, std::size_t end) {
    const std::size_t pixel = (image_ * s_.out_h() + oy) * s_.out_w() + ox;
    for (std::size_t block = begin; block < end; ++block) {
      WeightOnlyTile tile = block_tile(p_, block, bits_ + block * p_.block_bits());
      float* out[kMaxPixels];
      for (std::size_t i = 0; i < m; ++i) {
        out[i] = p_.out + (pixel + i) * s_.out_channels + p_.first_filter(block);
      }
      tile.tap_count = tap_count;
      tile.taps = taps_.data();
      tile.pixels = reinterpret_cast<const float* const(*)[kMaxPixels]>(places_.data());
      tile.m = m;
      tile.out = out;
      p_.kernel.tile(tile);
    }
  }

  const Product& p_;
  const ConvShape& s_;
  const Strips& strips_;
  const std::uint32_t* bits_;
  const std::size_t pixel_floats_;
  AlignedArray<float> ring_, zeros_;
  std::vector<std::size_t> rows_;  // which input row a slot of the ring holds
  std::vector<std::size_t> taps_;
  std::vector<const float*> places_;
  std::size_t image_ = 0, strip_ = 0;
};

}  // namespace

void multiply_rows(const Product& p) {
  const ConvShape& s = p.shape;
  const std::size_t blocks = p.blocks(), block_bits = p.block_bits();
  const AlignedArray<std::uint32_t> bits(blocks * block_bits);
  parallel_for(blocks, kGrainProducts / (block_bits * 4 + 1) + 1,
               [&](std::size_t begin, std::size_t end) {
                 std::vector<const word_t*> rows(p.kernel.filters);
                 for (std::size_t block = begin; block < end; ++block) {
                   arrange_block(p, block, rows, bits.data() + block * block_bits);
                 }
               });
  const Strips strips = plan_strips(p);
  const std::size_t rows = s.batch * strips.count * s.out_h();
  // Where rows are too few for the threads, each does some of the blocks.
  const std::size_t wanted = 4 * static_cast<std::size_t>(num_threads());
  const std::size_t parts = num_threads() == 1 ? 1 : std::min(blocks, (wanted + rows - 1) / rows);
  const std::size_t products =
      strips.width * s.out_channels / parts * s.group_channels() * p.taps();
  parallel_for(rows * parts, kGrainProducts / (products + 1) + 1,
               [&](std::size_t begin, std::size_t end) {
                 RowWorker worker(p, strips, bits.data());
                 for (std::size_t item = begin; item < end; ++item) {
                   const std::size_t part = item / rows, row = item % rows;
                   worker.run(row / s.out_h() / strips.count, row / s.out_h() % strips.count,
                              row % s.out_h(), part * blocks / parts, (part + 1) * blocks / parts);
                 }
               });
}

}  // namespace bnn
