#include "naive.h"

#include <cmath>
#include <cstdio>

namespace bnn::test {

namespace {

// Calls visit(output index, input pixel or -1 for padding, tap, first channel of the group, output
// channel) for every tap of every output, row by row.
template <typename Visit>
void for_each_tap(const ConvShape& s, Visit visit) {
  std::size_t out = 0;
  for (std::size_t b = 0; b < s.batch; ++b) {
    for (std::size_t oy = 0; oy < s.out_h(); ++oy) {
      for (std::size_t ox = 0; ox < s.out_w(); ++ox) {
        for (std::size_t o = 0; o < s.out_channels; ++o, ++out) {
          const std::size_t first = o / s.group_out_channels() * s.group_channels();
          for (std::size_t tap = 0; tap < s.kernel_h * s.kernel_w; ++tap) {
            const std::size_t y = oy * s.stride_h + tap / s.kernel_w * s.dilation_h;
            const std::size_t x = ox * s.stride_w + tap % s.kernel_w * s.dilation_w;
            const bool inside = y >= s.pad_top && y < s.pad_top + s.height && x >= s.pad_left &&
                                x < s.pad_left + s.width;
            const std::size_t pixel = (b * s.height + y - s.pad_top) * s.width + x - s.pad_left;
            visit(out, inside ? static_cast<std::ptrdiff_t>(pixel) : -1, tap, first, o);
          }
        }
      }
    }
  }
}

std::size_t outputs(const ConvShape& s) { return s.batch * s.out_h() * s.out_w() * s.out_channels; }

}  // namespace

std::vector<std::int32_t> naive_bconv2d(const ConvShape& s, const word_t* x, const word_t* weight) {
  std::vector<std::int32_t> sums(outputs(s));
  const std::size_t pixel_words = words(s.channels), tap_words = words(s.group_channels());
  const std::size_t taps = s.kernel_h * s.kernel_w;
  for_each_tap(s, [&](std::size_t out, std::ptrdiff_t pixel, std::size_t tap, std::size_t first,
                      std::size_t o) {
    const word_t* filter = weight + (o * taps + tap) * tap_words;
    for (std::size_t c = 0; c < s.group_channels(); ++c) {
      const int activation = pixel < 0 ? s.pad_value : value(x + pixel * pixel_words, first + c);
      sums[out] += activation * value(filter, c);
    }
  });
  return sums;
}

std::vector<FloatSum> naive_weight_only(const ConvShape& s, const float* x, const word_t* weight) {
  std::vector<FloatSum> sums(outputs(s));
  const std::size_t tap_words = words(s.group_channels()), taps = s.kernel_h * s.kernel_w;
  for_each_tap(s, [&](std::size_t out, std::ptrdiff_t pixel, std::size_t tap, std::size_t first,
                      std::size_t o) {
    if (pixel < 0) return;
    const word_t* filter = weight + (o * taps + tap) * tap_words;
    for (std::size_t c = 0; c < s.group_channels(); ++c) {
      const double activation = x[pixel * s.channels + first + c];
      sums[out].sum += activation * value(filter, c);
      sums[out].magnitude += std::fabs(activation);
    }
  });
  return sums;
}

std::vector<FloatSum> naive_conv2d(const ConvShape& s, const float* x, const float* weight) {
  std::vector<FloatSum> sums(outputs(s));
  const std::size_t taps = s.kernel_h * s.kernel_w;
  for_each_tap(s, [&](std::size_t out, std::ptrdiff_t pixel, std::size_t tap, std::size_t first,
                      std::size_t o) {
    if (pixel < 0) return;
    const float* filter = weight + (o * taps + tap) * s.group_channels();
    for (std::size_t c = 0; c < s.group_channels(); ++c) {
      const double product = static_cast<double>(x[pixel * s.channels + first + c]) * filter[c];
      sums[out].sum += product;
      sums[out].magnitude += std::fabs(product);
    }
  });
  return sums;
}

std::string describe(const ConvShape& s) {
  char text[256];
  std::snprintf(text, sizeof(text),
                "x %zux%zux%zux%zu out_channels %zu kernel %zux%zu stride %zu,%zu dilation %zu,%zu "
                "pad %zu,%zu,%zu,%zu of %d groups %zu",
                s.batch, s.height, s.width, s.channels, s.out_channels, s.kernel_h, s.kernel_w,
                s.stride_h, s.stride_w, s.dilation_h, s.dilation_w, s.pad_top, s.pad_bottom,
                s.pad_left, s.pad_right, s.pad_value, s.groups);
  return text;
}

namespace {

constexpr std::initializer_list<std::size_t> kChannels = {1,  2,  3,  31,  32,  33,  63, 64,
                                                          65, 96, 97, 100, 128, 130, 192};

void random_channels(Random& random, ConvShape& s) {
  switch (random.between(0, 4)) {
    case 0:  // depthwise
      s.groups = s.channels = s.out_channels = random.pick(kChannels);
      return;
    case 1:  // depthwise with several filters for each channel
      s.groups = s.channels = random.pick({1, 2, 3, 17, 64, 65});
      s.out_channels = s.groups * random.between(1, 3);
      return;
    case 2:
      s.groups = random.between(2, 5);
      s.channels = s.groups * random.pick({1, 3, 20, 32, 33, 64, 100, 128});
      s.out_channels = s.groups * random.pick({1, 2, 5, 16, 31, 33, 64});
      return;
    default:
      s.groups = 1;
      s.channels = random.one_in(2) ? random.pick(kChannels) : random.between(1, 600);
      s.out_channels = random.one_in(2) ? random.pick(kChannels) : random.between(1, 70);
  }
}

// One axis. Kernels may be larger than the image: padding is then added until they fit.
void random_axis(Random& random, std::size_t& size, std::size_t& kernel, std::size_t& stride,
                 std::size_t& dilation, std::size_t& before, std::size_t& after) {
  size = random.between(1, 9);
  kernel = random.pick({1, 1, 2, 3, 3, 3, 4, 5, 7});
  stride = random.pick({1, 1, 1, 2, 3});
  dilation = random.pick({1, 1, 1, 2, 3});
  before = random.one_in(2) ? kernel / 2 : random.between(0, 4);
  after = random.one_in(2) ? before : random.between(0, 4);
  const std::size_t extent = dilation * (kernel - 1) + 1;
  while (size + before + after < extent) ++(random.one_in(2) ? before : after);
}

}  // namespace

ConvShape random_conv(Random& random) {
  ConvShape s{};
  random_channels(random, s);
  random_axis(random, s.height, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top, s.pad_bottom);
  random_axis(random, s.width, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left, s.pad_right);
  if (random.one_in(5)) {  // 1-D
    s.height = s.kernel_h = s.stride_h = s.dilation_h = 1;
    s.pad_top = s.pad_bottom = 0;
    s.width = random.between(s.width, 40);
  }
  s.batch = random.one_in(20) ? 0 : random.between(1, 3);
  s.pad_value = static_cast<int>(random.between(0, 2)) - 1;
  return s;
}

ConvShape linear(std::size_t rows, std::size_t in, std::size_t out) {
  ConvShape s{};
  s.batch = rows;
  s.height = s.width = s.kernel_h = s.kernel_w = s.groups = 1;
  s.stride_h = s.stride_w = s.dilation_h = s.dilation_w = 1;
  s.channels = in;
  s.out_channels = out;
  return s;
}

}  // namespace bnn::test
