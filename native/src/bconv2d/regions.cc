#include "bconv2d/regions.h"

#include <algorithm>

namespace bnn {

std::vector<Stretch> stretches(std::size_t size, std::size_t out, std::size_t kernel,
                               std::size_t stride, std::size_t dilation, std::size_t pad) {
  std::vector<Stretch> result;
  for (std::size_t o = 0; o < out; ++o) {
    // Tap t reads the input at o * stride + t * dilation - pad.
    const std::size_t at = o * stride;
    const std::size_t begin = at >= pad ? 0 : (pad - at + dilation - 1) / dilation;
    const std::size_t end =
        at >= pad + size ? 0 : std::min(kernel, (size + pad - at - 1) / dilation + 1);
    const Stretch one{o, o + 1, begin, std::max(begin, end)};
    const bool empty = one.tap_begin == one.tap_end;
    if (!result.empty()) {
      Stretch& last = result.back();
      const bool last_empty = last.tap_begin == last.tap_end;
      if ((empty && last_empty) ||
          (last.tap_begin == one.tap_begin && last.tap_end == one.tap_end)) {
        last.end = o + 1;
        continue;
      }
    }
    result.push_back(one);
  }
  return result;
}

namespace {

std::vector<Run> runs(const Convolution& conv, const Stretch& y, const Stretch& x) {
  const ConvShape& s = conv.shape;
  const bool depthwise = is_depthwise(s);
  const std::size_t tap_words = depthwise ? conv.group_words : words(s.group_channels());
  // Neighbouring taps are one run where they are neighbours in memory.
  const bool merge = s.dilation_w == 1 && conv.pixel_words == conv.group_words && !depthwise;
  std::vector<Run> result;
  for (std::size_t ky = y.tap_begin; ky < y.tap_end; ++ky) {
    const std::size_t row = (ky - y.tap_begin) * s.dilation_h * s.width;
    for (std::size_t kx = x.tap_begin; kx < x.tap_end; ++kx) {
      const std::size_t pixel = row + (kx - x.tap_begin) * s.dilation_w;
      const std::size_t tap = ky * s.kernel_w + kx, taps = merge ? x.tap_end - x.tap_begin : 1;
      result.push_back({static_cast<std::ptrdiff_t>(pixel * conv.pixel_words), tap, taps,
                        tap * tap_words, taps * tap_words});
      if (merge) break;
    }
  }
  return result;
}

}  // namespace

std::vector<Region> regions(const Convolution& conv, std::size_t mr, std::size_t* tiles) {
  const ConvShape& s = conv.shape;
  const auto ys = stretches(s.height, s.out_h(), s.kernel_h, s.stride_h, s.dilation_h, s.pad_top);
  const auto xs = stretches(s.width, s.out_w(), s.kernel_w, s.stride_w, s.dilation_w, s.pad_left);
  std::vector<Region> result;
  *tiles = 0;
  for (const Stretch& y : ys) {
    for (const Stretch& x : xs) {
      const std::size_t taps = (y.tap_end - y.tap_begin) * (x.tap_end - x.tap_begin);
      Region region{y, x, *tiles, {}, static_cast<std::int32_t>(taps * s.group_channels())};
      if (taps != 0) region.runs = runs(conv, y, x);
      *tiles += (s.batch * region.pixels() + mr - 1) / mr;
      result.push_back(std::move(region));
    }
  }
  return result;
}

}  // namespace bnn
