// Float activations with 1-bit weights, one sum at a time.
#include "bnn/weight_only.h"

#include <algorithm>

#include "bnn/threads.h"

namespace bnn {

namespace {

float dot(const float* x, const word_t* weight, std::size_t channels) {
  float sum = 0;
  for (std::size_t c = 0; c < channels; ++c) {
    sum += (weight[c / kWordBits] >> c % kWordBits & 1) != 0 ? -x[c] : x[c];
  }
  return sum;
}

}  // namespace

void weight_only_conv2d(const ConvShape& s, const float* x, const word_t* weight,
                        const float* scale, const float* bias, float* out, Isa) {
  const std::size_t tap_words = words(s.group_channels()), out_h = s.out_h(), out_w = s.out_w();
  parallel_for(s.batch * out_h * out_w, 64, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t ox = i % out_w, oy = i / out_w % out_h, image = i / out_w / out_h;
      for (std::size_t o = 0; o < s.out_channels; ++o) {
        const std::size_t first = o / s.group_out_channels() * s.group_channels();
        const word_t* w = weight + o * s.kernel_h * s.kernel_w * tap_words;
        float sum = 0;
        for (std::size_t tap = 0; tap < s.kernel_h * s.kernel_w; ++tap, w += tap_words) {
          // Left of and above the image the difference wraps around, to beyond its end.
          const std::size_t iy = oy * s.stride_h + tap / s.kernel_w * s.dilation_h - s.pad_top;
          const std::size_t ix = ox * s.stride_w + tap % s.kernel_w * s.dilation_w - s.pad_left;
          if (iy >= s.height || ix >= s.width) continue;
          const float* pixel = x + ((image * s.height + iy) * s.width + ix) * s.channels;
          sum += dot(pixel + first, w, s.group_channels());
        }
        if (scale != nullptr) sum *= scale[o];
        if (bias != nullptr) sum += bias[o];
        out[i * s.out_channels + o] = sum;
      }
    }
  });
}

}  // namespace bnn
