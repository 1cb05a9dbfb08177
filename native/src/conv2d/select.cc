#include "conv2d/tile.h"

namespace bnn {

#define BNN_DOT(name, needs, block)  \
  namespace name {                   \
  std::size_t width(std::size_t n);  \
  std::size_t pixels(std::size_t n); \
  void tile(const FloatTile& tile);  \
  }
#include "conv2d/dot.inc"
#undef BNN_DOT

#define BNN_LANES_KERNEL(name, needs, lanes) \
  namespace name {                           \
  void depthwise(const FloatTile& tile);     \
  void maximum(const FloatTile& tile);       \
  void mean(const FloatTile& tile);          \
  }
#include "conv2d/lanes.inc"
#undef BNN_LANES_KERNEL

namespace dot_6x64__avx512vpopcntdq {
void interleave(const float* x, std::size_t count, std::size_t group_channels, float* out);
}

namespace {

constexpr DotKernel kDots[] = {
#define BNN_DOT(name, needs, block) {#name, needs, block, name::width, name::pixels, name::tile},
#include "conv2d/dot.inc"
#undef BNN_DOT
};

constexpr std::size_t kLanePixels = 4;

constexpr LaneKernel kLanes[] = {
#define BNN_LANES_KERNEL(name, needs, lanes) \
  {#name, needs, lanes, kLanePixels, name::depthwise, name::maximum, name::mean},
#include "conv2d/lanes.inc"
#undef BNN_LANES_KERNEL
};

}  // namespace

const DotKernel& select_dot(Isa isa) {
  const DotKernel* best = kDots;  // the portable one
  for (const DotKernel& kernel : kDots) {
    if (isa_includes(isa, kernel.needs)) best = &kernel;
  }
  return *best;
}

Interleave select_interleave([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa_includes(isa, Isa::kAvx512Vpopcntdq)) return dot_6x64__avx512vpopcntdq::interleave;
#endif
  return nullptr;
}

const LaneKernel& select_lanes(Isa isa) {
  const LaneKernel* best = kLanes;
  for (const LaneKernel& kernel : kLanes) {
    if (isa_includes(isa, kernel.needs)) best = &kernel;
  }
  return *best;
}

}  // namespace bnn
