// Mean of floats over windows, as torch.nn.AvgPool2d has it: from 0, the taps are added row by row,
// and the sum is divided (not multiplied by a reciprocal), so results are equal to the last bit.
#include <algorithm>

#include "bnn/pool.h"
#include "bnn/threads.h"
#include "pool/window.h"

namespace bnn {

namespace {

constexpr std::size_t kGrainFloats = 128 << 10;  // floats read: about 10 us

// How many of a window's elements lie in the padded axis: a window may hang over its end
// (ceil_mode), and what lies there does not count.
std::size_t padded_size(std::size_t out, std::size_t stride, std::size_t dilation,
                        std::size_t kernel, std::size_t pad, std::size_t size) {
  return taps_inside(out, stride, dilation, kernel, 0, size + 2 * pad).count();
}

void pixel(const PoolShape& s, const float* image, Taps rows, Taps columns, float divisor,
           float* __restrict out) {
  std::fill(out, out + s.channels, 0.0f);
  for (std::size_t ky = 0; ky < rows.count(); ++ky) {
    for (std::size_t kx = 0; kx < columns.count(); ++kx) {
      const std::size_t y = rows.first + ky * s.dilation_h;
      const float* from = image + (y * s.width + columns.first + kx * s.dilation_w) * s.channels;
      for (std::size_t c = 0; c < s.channels; ++c) out[c] += from[c];
    }
  }
  for (std::size_t c = 0; c < s.channels; ++c) out[c] /= divisor;
}

}  // namespace

void avgpool2d(const PoolShape& s, bool count_include_pad, const float* x, float* out, Isa) {
  const std::size_t row_taps = s.out_w * s.kernel_h * s.kernel_w * s.channels;
  const std::size_t grain = kGrainFloats / std::max<std::size_t>(row_taps, 1) + 1;
  parallel_for(s.batch * s.out_h, grain, [&](std::size_t begin, std::size_t end) {
    float* to = out + begin * s.out_w * s.channels;
    for (std::size_t i = begin; i < end; ++i) {
      const float* image = x + i / s.out_h * s.height * s.width * s.channels;
      const std::size_t oy = i % s.out_h;
      const Taps rows = taps_inside(oy, s.stride_h, s.dilation_h, s.kernel_h, s.pad_top, s.height);
      const std::size_t window_h =
          padded_size(oy, s.stride_h, s.dilation_h, s.kernel_h, s.pad_top, s.height);
      for (std::size_t ox = 0; ox < s.out_w; ++ox, to += s.channels) {
        const Taps columns =
            taps_inside(ox, s.stride_w, s.dilation_w, s.kernel_w, s.pad_left, s.width);
        const std::size_t window_w =
            padded_size(ox, s.stride_w, s.dilation_w, s.kernel_w, s.pad_left, s.width);
        const std::size_t divisor =
            count_include_pad ? window_h * window_w : rows.count() * columns.count();
        pixel(s, image, rows, columns, static_cast<float>(divisor), to);
      }
    }
  });
}

}  // namespace bnn
