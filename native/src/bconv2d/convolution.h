// A convolution as the tile kernels see it: after padding with +-1 and aligning of groups.
#pragma once

#include "bgemm/bgemm.h"
#include "bnn/bconv2d.h"

namespace bnn {

struct Convolution {
  ConvShape shape;  // pad_value is 0: other padding has become part of the image
  const word_t* x;  // (batch, height, width, pixel_words)
  std::size_t pixel_words;
  std::size_t group_words;  // a group's channels begin at multiples of this in a pixel
  word_t* room;             // where x lies if the caller's would not do
  std::size_t room_words;   // how much of it that takes
};

// Whether every filter sees one channel, its own.
bool is_depthwise(const ConvShape& shape);

// The convolution on x, copied only where padding, groups or the kernel's row form ask for it, and
// then to `room`. Without room nothing is copied: the result has the sizes.
Convolution prepare(const ConvShape& shape, RowForm rows, const word_t* x = nullptr,
                    word_t* room = nullptr);

}  // namespace bnn
