// Binary convolution. A linear layer is a 1x1 convolution of 1x1 images, a 1-D one has height 1.
#pragma once

#include "bnn/epilogue.h"
#include "bnn/isa.h"
#include "bnn/word.h"

namespace bnn {

struct ConvShape {
  std::size_t batch, height, width, channels;
  std::size_t out_channels, kernel_h, kernel_w;
  std::size_t stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  std::size_t pad_top = 0, pad_bottom = 0, pad_left = 0, pad_right = 0;
  std::size_t groups = 1;
  int pad_value = 0;  // 0: a padded tap contributes nothing; -1, +1: the input is padded with it

  // The caller has checked that the kernel fits into the padded image.
  std::size_t out_h() const {
    return (height + pad_top + pad_bottom - dilation_h * (kernel_h - 1) - 1) / stride_h + 1;
  }
  std::size_t out_w() const {
    return (width + pad_left + pad_right - dilation_w * (kernel_w - 1) - 1) / stride_w + 1;
  }
  std::size_t group_channels() const { return channels / groups; }
  std::size_t group_out_channels() const { return out_channels / groups; }
};

// Kernels read the weight from a panel: the same bits in the order in which they are used, made
// once. It begins with a header that names the kernel and the shape it is for.
std::size_t panel_bytes(const ConvShape& shape, Isa isa);

// weight: (out_channels, kernel_h, kernel_w, words(channels / groups)).
void make_panel(const ConvShape& shape, const word_t* weight, void* panel, Isa isa);

// Whether `panel` was made by this build's make_panel for such a shape and ISA.
bool panel_fits(const ConvShape& shape, const void* panel, std::size_t bytes, Isa isa);

// x: (batch, height, width, words(channels)). Every pad bit of x and weight must be 0. `panel` must
// fit, and be aligned to 64 bytes.
void bconv2d(const ConvShape& shape, const word_t* x, const word_t* weight, const void* panel,
             const Epilogue& epilogue, Isa isa);

// The kernel that bconv2d takes: "bgemm_8x32__avx512vpopcntdq" and the like.
const char* bconv2d_kernel(const ConvShape& shape, Isa isa);

}  // namespace bnn
