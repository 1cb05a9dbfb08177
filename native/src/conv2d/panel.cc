// Panels of float weights: for each group, blocks of filters; in a block, a row of filters for each
// float of x. A depthwise convolution has a row of all channels for each tap.
#include <algorithm>

#include "conv2d/plan.h"
#include "winograd/plan.h"

namespace bnn {

bool is_paired(const ConvShape& s, Isa isa) {
  return select_interleave(isa) != nullptr && s.groups > 1 && s.channels % 16 == 0 &&
         s.group_out_channels() == 8 && (s.group_channels() == 4 || s.group_channels() == 8);
}

FloatPanel plan_float_panel(const ConvShape& s, Isa isa) {
  const std::size_t taps = s.kernel_h * s.kernel_w;
  if (is_depthwise(s)) {
    const std::size_t width = lane_width(s.channels);
    return {taps, 1, s.channels, width, 0, taps * width, 1};
  }
  const DotKernel& kernel = select_dot(isa);
  FloatPanel p{};
  p.rows = taps * s.group_channels();
  p.vector = kernel.width(1);
  p.block = kernel.block;
  p.whole = s.group_out_channels() / p.block;
  const std::size_t left = s.group_out_channels() % p.block;
  p.last = left == 0 ? 0 : kernel.width(left);
  p.group = p.rows * (p.whole * p.block + p.last);
  p.groups = is_paired(s, isa) ? s.groups / 2 : s.groups;
  return p;
}

std::size_t conv2d_panel_bytes(const ConvShape& shape, Isa isa) {
  if (is_winograd(shape)) return winograd_panel_floats(shape, isa) * sizeof(float);
  const FloatPanel p = plan_float_panel(shape, isa);
  return p.groups * p.group * sizeof(float);
}

namespace {

// out: (rows, width) from weight: (n, rows).
void arrange(const float* weight, std::size_t n, std::size_t rows, std::size_t width, float* out) {
  for (std::size_t row = 0; row < rows; ++row, out += width) {
    for (std::size_t i = 0; i < n; ++i) out[i] = weight[i * rows + row];
    std::fill(out + n, out + width, 0.0f);
  }
}

// out: (rows, 8, 2) from weight: (2, 8, rows).
void arrange_pair(const float* weight, std::size_t rows, float* out) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < 16; ++i) *out++ = weight[(i % 2 * 8 + i / 2) * rows + row];
  }
}

}  // namespace

void make_conv2d_panel(const ConvShape& s, const float* weight, void* panel, Isa isa) {
  float* out = static_cast<float*>(panel);
  if (is_winograd(s)) return make_winograd_panel(s, weight, out, isa);
  const FloatPanel p = plan_float_panel(s, isa);
  if (is_depthwise(s)) return arrange(weight, s.channels, p.rows, p.last, out);
  if (is_paired(s, isa)) {
    for (std::size_t g = 0; g < p.groups; ++g) {
      arrange_pair(weight + g * 16 * p.rows, p.rows, out + g * p.group);
    }
    return;
  }
  const std::size_t filters = s.group_out_channels();
  for (std::size_t g = 0; g < s.groups; ++g) {
    for (std::size_t n = 0; n < filters; n += p.block) {
      const std::size_t width = n / p.block < p.whole ? p.block : p.last;
      arrange(weight + (g * filters + n) * p.rows, std::min(p.block, filters - n), p.rows, width,
              out);
      out += p.rows * width;
    }
  }
}

}  // namespace bnn
