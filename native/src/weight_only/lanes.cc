// Groups of few output channels, depthwise convolution above all. A table would serve too few
// filters; instead every lane is an output channel that flips its own inputs' signs.
//
// Input k of every output channel makes a plane as wide as the output's channels. In a depthwise
// convolution that is x itself; else each row of x is expanded into its planes, and kept in a ring
// for the next row of the output.
#include "bnn/threads.h"
#include "weight_only/product.h"

namespace bnn {

namespace {

constexpr std::size_t kNoRow = ~std::size_t{0};

// One thread's working memory.
class LaneWorker {
 public:
  LaneWorker(const Product& p, const std::uint32_t* signs)
      : p_(p),
        s_(p.shape),
        signs_(signs),
        planes_(s_.group_channels()),
        depthwise_(planes_ == 1 && s_.group_out_channels() == 1),
        slots_((s_.kernel_h - 1) * s_.dilation_h + 1),
        row_floats_(s_.width * planes_ * s_.out_channels),
        ring_(depthwise_ ? 0 : slots_ * row_floats_),
        rows_(slots_, kNoRow),
        inputs_(p.taps() * planes_),
        filters_(p.taps() * planes_) {}

  void run(std::size_t image, std::size_t oy) {
    // Inside the row no tap lies in the padding.
    const std::size_t reach = (s_.kernel_w - 1) * s_.dilation_w, limit = s_.width + s_.pad_left;
    const std::size_t first = (s_.pad_left + s_.stride_w - 1) / s_.stride_w;
    const std::size_t last = limit > reach ? (limit - reach + s_.stride_w - 1) / s_.stride_w : 0;
    for (std::size_t ox = 0; ox < s_.out_w();) {
      const std::size_t end = ox == first && last > first ? std::min(last, s_.out_w()) : ox + 1;
      run_pixels(image, oy, ox, end);
      ox = end;
    }
  }

 private:
  void run_pixels(std::size_t image, std::size_t oy, std::size_t begin, std::size_t end) {
    const std::size_t n = s_.out_channels;
    LaneRow row{n,
                0,
                inputs_.data(),
                filters_.data(),
                end - begin,
                s_.stride_w * planes_ * n,
                p_.scale,
                p_.bias,
                p_.out + ((image * s_.out_h() + oy) * s_.out_w() + begin) * n};
    for (std::size_t tap = 0; tap < p_.taps(); ++tap) {
      // Above and left of the image the difference wraps around, to beyond its end.
      const std::size_t iy = oy * s_.stride_h + tap / s_.kernel_w * s_.dilation_h - s_.pad_top;
      const std::size_t ix = begin * s_.stride_w + tap % s_.kernel_w * s_.dilation_w - s_.pad_left;
      if (iy >= s_.height || ix >= s_.width) continue;
      const float* pixel = input_row(image * s_.height + iy) + ix * planes_ * n;
      for (std::size_t k = 0; k < planes_; ++k) {
        inputs_[row.input_count] = pixel + k * n;
        filters_[row.input_count++] = signs_ + (tap * planes_ + k) * n;
      }
    }
    p_.kernel.lane_row(row);
  }

  // The planes of a row, counted through all images: (width, planes, out_channels) floats.
  const float* input_row(std::size_t row) {
    const float* x = p_.x + row * s_.width * s_.channels;
    if (depthwise_) return x;
    float* const to = ring_.data() + row % slots_ * row_floats_;
    if (rows_[row % slots_] == row) return to;
    rows_[row % slots_] = row;
    const std::size_t group_n = s_.group_out_channels();
    float* plane = to;
    for (std::size_t ix = 0; ix < s_.width; ++ix, x += s_.channels) {
      for (std::size_t k = 0; k < planes_; ++k) {
        for (std::size_t g = 0; g < s_.groups; ++g) {
          const float value = x[g * planes_ + k];
          for (std::size_t i = 0; i < group_n; ++i) *plane++ = value;
        }
      }
    }
    return to;
  }

  const Product& p_;
  const ConvShape& s_;
  const std::uint32_t* signs_;
  const std::size_t planes_;  // inputs of an output channel, at a tap
  const bool depthwise_;
  const std::size_t slots_, row_floats_;
  AlignedArray<float> ring_;
  std::vector<std::size_t> rows_;  // which input row a slot of the ring holds
  std::vector<const float*> inputs_;
  std::vector<const std::uint32_t*> filters_;
};

}  // namespace

void multiply_lanes(const Product& p) {
  const ConvShape& s = p.shape;
  const std::size_t n = s.out_channels, channels = s.group_channels();
  const AlignedArray<std::uint32_t> signs(p.taps() * channels * n);
  std::uint32_t* sign = signs.data();
  for (std::size_t tap = 0; tap < p.taps(); ++tap) {
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t o = 0; o < n; ++o) {
        const word_t* filter = p.weight + (o * p.taps() + tap) * p.tap_words();
        *sign++ = static_cast<std::uint32_t>(filter[c / kWordBits] >> c % kWordBits) << 31;
      }
    }
  }
  // A quarter as fast as the other ways' products.
  const std::size_t products = 4 * s.out_w() * p.taps() * channels * n;
  parallel_for(s.batch * s.out_h(), kGrainProducts / (products + 1) + 1,
               [&](std::size_t begin, std::size_t end) {
                 LaneWorker worker(p, signs.data());
                 for (std::size_t i = begin; i < end; ++i) worker.run(i / s.out_h(), i % s.out_h());
               });
}

}  // namespace bnn
