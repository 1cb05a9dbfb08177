// Float tensors element by element, and their orders in memory.
#pragma once

#include <vector>

#include "bnn/epilogue.h"
#include "bnn/isa.h"

namespace bnn {

// The epilogue's steps on x, (rows, channels), in place of `acc`. `out` may be x.
void map(std::size_t rows, std::size_t channels, const float* x, const Epilogue& epilogue, Isa isa);

// The same on x * by. A row of `by` goes with so many rows of x: with one, or with the pixels of an
// image, each of whose channels it scales. `out` may be x, or `by` if it has as many rows.
void multiply(std::size_t rows, std::size_t channels, const float* x, const float* by,
              std::size_t rows_by, const Epilogue& epilogue, Isa isa);

// The same on what of x, between 0 and 1 and rounded to one of levels + 1 integers r from 0 to
// `levels` = 2^b - 1, is left for a plane of signs:
//
//   v_0 = r - levels / 2;  v_j = v_{j-1} - sign(v_{j-1}) (levels + 1) / 2^(j+1)
//
// so that r is levels / 2 and, of all planes, sign(v_j) (levels + 1) / 2^(j+2).
void level(std::size_t rows, std::size_t channels, const float* x, std::size_t levels,
           std::size_t plane, const Epilogue& epilogue, Isa isa);

// The same on the channels of all inputs, (rows, channels[i]), one after another.
void concat(std::size_t rows, std::size_t inputs, const float* const* x,
            const std::size_t* channels, const Epilogue& epilogue, Isa isa);

// (batch, channels, pixels) to (batch, pixels, channels), and back.
void to_nhwc(std::size_t batch, std::size_t channels, std::size_t pixels, const float* x,
             float* out, Isa isa);
void to_nchw(std::size_t batch, std::size_t channels, std::size_t pixels, const float* x,
             float* out, Isa isa);

}  // namespace bnn
