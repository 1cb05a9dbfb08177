// Panels: what make_panel writes before the kernels' own data, and where a group's part begins.
#pragma once

#include "bconv2d/convolution.h"
#include "bgemm/select.h"

namespace bnn {

inline constexpr std::size_t kPanelAlign = 64;

// Says what a panel is for, so that one from another machine, build or layer is recognised.
struct PanelHeader {
  char magic[8];
  char kernel[40];
  std::uint32_t shape_digest;
  std::uint32_t reserved;
  std::uint64_t bytes;
};
static_assert(sizeof(PanelHeader) == kPanelAlign, "the kernels' data begins aligned");

struct PanelPlan {
  const char* kernel;  // whose data it is
  PanelShape group;    // of one group (depthwise: of all channels)
  std::size_t group_bytes;
  std::size_t bytes;  // with the header; 0 if the kernel reads the weight as it is
};

// `kernel` is the tile kernel; a depthwise convolution has its own.
PanelPlan plan_panel(const ConvShape& shape, const BgemmKernel& kernel);

// The kernel of this layer's panel: it does not depend on the number of rows.
const BgemmKernel& panel_kernel(Isa isa);

}  // namespace bnn
