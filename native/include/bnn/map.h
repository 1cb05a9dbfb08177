// Float tensors element by element, and their orders in memory.
#pragma once

#include <vector>

#include "bnn/epilogue.h"
#include "bnn/isa.h"

namespace bnn {

// The epilogue's steps on x, (rows, channels), in place of `acc`. `out` may be x.
void map(std::size_t rows, std::size_t channels, const float* x, const Epilogue& epilogue, Isa isa);

// The same on the channels of all inputs, (rows, channels[i]), one after another.
void concat(std::size_t rows, std::size_t inputs, const float* const* x,
            const std::size_t* channels, const Epilogue& epilogue, Isa isa);

// (batch, channels, pixels) to (batch, pixels, channels), and back.
void to_nhwc(std::size_t batch, std::size_t channels, std::size_t pixels, const float* x,
             float* out, Isa isa);
void to_nchw(std::size_t batch, std::size_t channels, std::size_t pixels, const float* x,
             float* out, Isa isa);

}  // namespace bnn
