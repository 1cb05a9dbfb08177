// Floats to bits along the channels, and back.
#pragma once

#include "bnn/dtype.h"
#include "bnn/isa.h"
#include "bnn/word.h"

namespace bnn {

// bit = (x < 0), or, with scale and shift, bit = (fma(x, scale[c], shift[c]) < 0): x is converted
// to float32 first, and the product is not rounded before the sum. NaN gives 0, which is +1.
struct PackArgs {
  const void* x;  // (batch, channels, pixels), or (batch, pixels, channels) if channels_last
  DType dtype;
  std::size_t batch, channels, pixels;
  bool channels_last;
  const float* scale;  // (channels), or null for 1
  const float* shift;  // (channels), or null for 0
  word_t* out;         // (batch, pixels, words(channels)); pad bits are written as 0
};
void pack(const PackArgs& args, Isa isa);

// The bits as +1 and -1.
struct UnpackArgs {
  const word_t* x;  // (batch, pixels, words(channels))
  DType dtype;
  std::size_t batch, channels, pixels;
  bool channels_last;
  void* out;  // (batch, channels, pixels), or (batch, pixels, channels) if channels_last
};
void unpack(const UnpackArgs& args, Isa isa);

}  // namespace bnn
