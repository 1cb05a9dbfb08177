// What binary networks need between convolutions. Activations are NHWC.
#pragma once

#include "bnn/epilogue.h"
#include "bnn/isa.h"
#include "bnn/word.h"

namespace bnn {

struct PoolShape {
  std::size_t batch, height, width, channels;
  std::size_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
  std::size_t dilation_h = 1, dilation_w = 1;
  std::size_t out_h,
      out_w;  // computed by the caller, who has checked that no window is all padding
};

// Maximum of +1 and -1: +1 if any of the window is. Padding takes no part.
void bmaxpool2d(const PoolShape& shape, const word_t* x, word_t* out, Isa isa);

// Mean of the +1 and -1 over the pixels, as float32 (batch, channels): an exact sum, divided once.
void bglobal_avgpool(std::size_t batch, std::size_t pixels, std::size_t channels, const word_t* x,
                     float* out, Isa isa);

// Mean of floats, taps added in order (row by row), divided by the taps inside the image or, if
// count_include_pad, inside the padded image, which has the same padding on both sides: a window of
// ceil_mode may hang over it. (batch, height, width, channels) floats.
void avgpool2d(const PoolShape& shape, bool count_include_pad, const float* x, float* out, Isa isa);

// The same, and the maximum, of floats, followed by an epilogue that begins with it in place of
// `acc`. A window that holds NaN has NaN.
void avgpool2d(const PoolShape& shape, bool count_include_pad, const float* x,
               const Epilogue& epilogue, Isa isa);
void maxpool2d(const PoolShape& shape, const float* x, const Epilogue& epilogue, Isa isa);

// Mean of all pixels of an image, added one by one.
void global_avgpool(std::size_t batch, std::size_t pixels, std::size_t channels, const float* x,
                    const Epilogue& epilogue, Isa isa);

// The window of global_avgpool.
PoolShape global_window(std::size_t batch, std::size_t pixels, std::size_t channels);

// Rows of bits one after another: out has the channels of all inputs in their order.
void bconcat(std::size_t rows, std::size_t inputs, const word_t* const* x,
             const std::size_t* channels, word_t* out, Isa isa);

// Channel c * groups + g of the result is channel g * (channels / groups) + c of x.
void bchannel_shuffle(std::size_t rows, std::size_t channels, std::size_t groups, const word_t* x,
                      word_t* out, Isa isa);

}  // namespace bnn
