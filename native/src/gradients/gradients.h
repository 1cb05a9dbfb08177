// The contract of a gradient kernel: a part of the work of bnn/gradients.h.
#pragma once

#include "bnn/gradients.h"

namespace bnn {

struct GradientsKernel {
  const char* name;
  Isa needs;
  // The words [begin, end) of the bits, and the elements that they stand for.
  void (*clip)(const float* x, std::size_t count, word_t* out, std::size_t begin, std::size_t end);
  void (*keep)(float* x, std::size_t count, const word_t* bits, std::size_t begin, std::size_t end);
  // The rows [begin, end).
  void (*signs)(const SignedArgs& args, std::size_t begin, std::size_t end);
  void (*latent)(const LatentArgs& args, std::size_t begin, std::size_t end);
  // The images [begin, end) if channels_last, else the planes [begin, end) of batch * channels.
  void (*prelu)(const PReluArgs& args, std::size_t begin, std::size_t end);
};

}  // namespace bnn
