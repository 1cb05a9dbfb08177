// Chooses the kernel and shares the work among threads.
#include "gradients/gradients.h"

#include <algorithm>

#include "bnn/threads.h"

namespace bnn {

#define BNN_GRADIENTS(name, needs)                                                          \
  namespace name {                                                                          \
  void clip(const float* x, std::size_t count, word_t* out, std::size_t b, std::size_t e);  \
  void keep(float* x, std::size_t count, const word_t* bits, std::size_t b, std::size_t e); \
  void signs(const SignedArgs& args, std::size_t begin, std::size_t end);                   \
  void latent(const LatentArgs& args, std::size_t begin, std::size_t end);                  \
  void prelu(const PReluArgs& args, std::size_t begin, std::size_t end);                    \
  }
#include "gradients/gradients.inc"
#undef BNN_GRADIENTS

namespace {

constexpr GradientsKernel kKernels[] = {
#define BNN_GRADIENTS(name, needs) \
  {#name, needs, name::clip, name::keep, name::signs, name::latent, name::prelu},
#include "gradients/gradients.inc"
#undef BNN_GRADIENTS
};

// A thread is not woken for less: about 10 us of reading from the caches.
constexpr std::size_t kGrainWords = 2048;
constexpr std::size_t kGrainElements = kGrainWords * kWordBits;

const GradientsKernel& select(Isa isa) {
  const GradientsKernel* best = kKernels;  // the portable one
  for (const GradientsKernel& kernel : kKernels) {
    if (isa_includes(isa, kernel.needs)) best = &kernel;
  }
  return *best;
}

std::size_t grain_rows(std::size_t columns) {
  return std::max<std::size_t>(kGrainElements / std::max<std::size_t>(columns, 1), 1);
}

}  // namespace

void clip_bits(const float* x, std::size_t count, word_t* out, Isa isa) {
  const GradientsKernel& kernel = select(isa);
  parallel_for(words(count), kGrainWords,
               [&](std::size_t begin, std::size_t end) { kernel.clip(x, count, out, begin, end); });
}

void keep_bits(float* x, std::size_t count, const word_t* bits, Isa isa) {
  const GradientsKernel& kernel = select(isa);
  parallel_for(words(count), kGrainWords, [&](std::size_t begin, std::size_t end) {
    kernel.keep(x, count, bits, begin, end);
  });
}

void write_signs(const SignedArgs& args, Isa isa) {
  const GradientsKernel& kernel = select(isa);
  parallel_for(args.rows, grain_rows(args.columns),
               [&](std::size_t begin, std::size_t end) { kernel.signs(args, begin, end); });
}

void latent_gradient(const LatentArgs& args, Isa isa) {
  const GradientsKernel& kernel = select(isa);
  parallel_for(args.rows, grain_rows(args.columns),
               [&](std::size_t begin, std::size_t end) { kernel.latent(args, begin, end); });
}

void prelu_gradient(const PReluArgs& args, Isa isa) {
  const GradientsKernel& kernel = select(isa);
  const std::size_t count = args.channels_last ? args.batch : args.batch * args.channels;
  const std::size_t each = args.channels_last ? args.pixels * args.channels : args.pixels;
  parallel_for(count, grain_rows(each),
               [&](std::size_t begin, std::size_t end) { kernel.prelu(args, begin, end); });
}

}  // namespace bnn
