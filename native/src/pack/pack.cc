// Packing and unpacking: chooses the kernel and shares the work among threads.
#include "pack/pack.h"

#include <algorithm>

#include "bnn/threads.h"

namespace bnn {

#define BNN_PACK(name, needs)                                                 \
  namespace name {                                                            \
  void pack_rows(const PackArgs& args, std::size_t begin, std::size_t end);   \
  void unpack_rows(const UnpackArgs&, std::size_t begin, std::size_t end);    \
  void pack_planes(const PackArgs& args, std::size_t begin, std::size_t end); \
  void unpack_planes(const UnpackArgs&, std::size_t begin, std::size_t end);  \
  }
#include "pack/pack.inc"
#undef BNN_PACK

namespace {

constexpr PackKernel kKernels[] = {
#define BNN_PACK(name, needs) \
  {#name, needs, name::pack_rows, name::unpack_rows, name::pack_planes, name::unpack_planes},
#include "pack/pack.inc"
#undef BNN_PACK
};

// A thread is not woken for less: about 10 us of reading from the caches.
constexpr std::size_t kGrainBytes = 512 << 10;

const PackKernel& select(Isa isa) {
  const PackKernel* best = kKernels;  // the portable one
  for (const PackKernel& kernel : kKernels) {
    if (isa_includes(isa, kernel.needs)) best = &kernel;
  }
  return *best;
}

template <typename Args>
void run(const Args& args, void (*rows)(const Args&, std::size_t, std::size_t),
         void (*planes)(const Args&, std::size_t, std::size_t)) {
  if (args.batch == 0 || args.channels == 0 || args.pixels == 0) return;
  // One pixel: both layouts are the same.
  const bool as_rows = args.channels_last || args.pixels == 1;
  const std::size_t blocks = (args.pixels + kBlockPixels - 1) / kBlockPixels;
  const std::size_t count = args.batch * (as_rows ? args.pixels : blocks * words(args.channels));
  const std::size_t bytes =
      args.batch * args.pixels * args.channels * dtype_size(args.dtype) / count;
  const std::size_t grain = std::max<std::size_t>(kGrainBytes / std::max<std::size_t>(bytes, 1), 1);
  parallel_for(count, grain, [&](std::size_t begin, std::size_t end) {
    (as_rows ? rows : planes)(args, begin, end);
  });
}

}  // namespace

void pack(const PackArgs& args, Isa isa) {
  const PackKernel& kernel = select(isa);
  run(args, kernel.pack_rows, kernel.pack_planes);
}

void unpack(const UnpackArgs& args, Isa isa) {
  const PackKernel& kernel = select(isa);
  run(args, kernel.unpack_rows, kernel.unpack_planes);
}

}  // namespace bnn
