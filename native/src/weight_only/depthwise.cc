// A filter for each channel: vectors run along the channels, and the signs are +1 and -1 floats.
#include "bnn/threads.h"
#include "weight_only/product.h"

namespace bnn {

void multiply_depthwise(const Product& p) {
  const ConvShape& s = p.shape;
  const std::size_t taps = p.taps(), channels = s.channels, out_h = s.out_h(), out_w = s.out_w();
  const AlignedArray<float> signs(taps * channels);
  for (std::size_t tap = 0; tap < taps; ++tap) {
    for (std::size_t c = 0; c < channels; ++c) {
      signs.data()[tap * channels + c] = (p.weight[c * taps + tap] & 1) != 0 ? -1.0f : 1.0f;
    }
  }
  // An eighth as fast as the other kernels' products.
  const std::size_t grain = kGrainProducts / (8 * out_w * taps * channels + 1) + 1;
  parallel_for(s.batch * out_h, grain, [&](std::size_t begin, std::size_t end) {
    std::vector<const float*> pixels(taps), filters(taps);
    DepthwisePixel pixel{channels, 0, pixels.data(), filters.data(), p.scale, p.bias, nullptr};
    for (std::size_t i = begin * out_w; i < end * out_w; ++i) {
      const std::size_t ox = i % out_w, oy = i / out_w % out_h, image = i / out_w / out_h;
      pixel.tap_count = 0;
      for (std::size_t tap = 0; tap < taps; ++tap) {
        // Above and left of the image the difference wraps around, to beyond its end.
        const std::size_t iy = oy * s.stride_h + tap / s.kernel_w * s.dilation_h - s.pad_top;
        const std::size_t ix = ox * s.stride_w + tap % s.kernel_w * s.dilation_w - s.pad_left;
        if (iy >= s.height || ix >= s.width) continue;
        pixels[pixel.tap_count] = p.x + ((image * s.height + iy) * s.width + ix) * channels;
        filters[pixel.tap_count++] = signs.data() + tap * channels;
      }
      pixel.out = p.out + i * channels;
      p.kernel.depthwise(pixel);
    }
  });
}

}  // namespace bnn
