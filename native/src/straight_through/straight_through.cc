// Chooses the kernel and shares the work among threads.
#include "straight_through/straight_through.h"

#include <algorithm>

#include "bnn/threads.h"

namespace bnn {

#define BNN_STRAIGHT_THROUGH(name, needs)                                                   \
  namespace name {                                                                          \
  void clip(const float* x, std::size_t count, word_t* out, std::size_t b, std::size_t e);  \
  void keep(float* x, std::size_t count, const word_t* bits, std::size_t b, std::size_t e); \
  void signs(const SignedArgs& args, std::size_t begin, std::size_t end);                   \
  void latent(const LatentArgs& args, std::size_t begin, std::size_t end);                  \
  }
#include "straight_through/straight_through.inc"
#undef BNN_STRAIGHT_THROUGH

namespace {

constexpr StraightThroughKernel kKernels[] = {
#define BNN_STRAIGHT_THROUGH(name, needs) \
  {#name, needs, name::clip, name::keep, name::signs, name::latent},
#include "straight_through/straight_through.inc"
#undef BNN_STRAIGHT_THROUGH
};

// A thread is not woken for less: about 10 us of reading from the caches.
constexpr std::size_t kGrainWords = 2048;
constexpr std::size_t kGrainElements = kGrainWords * kWordBits;

const StraightThroughKernel& select(Isa isa) {
  const StraightThroughKernel* best = kKernels;  // the portable one
  for (const StraightThroughKernel& kernel : kKernels) {
    if (isa_includes(isa, kernel.needs)) best = &kernel;
  }
  return *best;
}

std::size_t grain_rows(std::size_t columns) {
  return std::max<std::size_t>(kGrainElements / std::max<std::size_t>(columns, 1), 1);
}

}  // namespace

void clip_bits(const float* x, std::size_t count, word_t* out, Isa isa) {
  const StraightThroughKernel& kernel = select(isa);
  parallel_for(words(count), kGrainWords,
               [&](std::size_t begin, std::size_t end) { kernel.clip(x, count, out, begin, end); });
}

void keep_bits(float* x, std::size_t count, const word_t* bits, Isa isa) {
  const StraightThroughKernel& kernel = select(isa);
  parallel_for(words(count), kGrainWords, [&](std::size_t begin, std::size_t end) {
    kernel.keep(x, count, bits, begin, end);
  });
}

void write_signs(const SignedArgs& args, Isa isa) {
  const StraightThroughKernel& kernel = select(isa);
  parallel_for(args.rows, grain_rows(args.columns),
               [&](std::size_t begin, std::size_t end) { kernel.signs(args, begin, end); });
}

void latent_gradient(const LatentArgs& args, Isa isa) {
  const StraightThroughKernel& kernel = select(isa);
  parallel_for(args.rows, grain_rows(args.columns),
               [&](std::size_t begin, std::size_t end) { kernel.latent(args, begin, end); });
}

}  // namespace bnn
