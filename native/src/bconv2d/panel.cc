#include "bconv2d/panel.h"

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>

namespace bnn {

namespace {

constexpr char kMagic[8] = {'b', 'n', 'n', 'p', 'a', 'n', 'e', 'l'};

// FNV-1a over the sizes that decide the panel's content.
std::uint32_t digest(const ConvShape& shape) {
  std::uint32_t hash = 2166136261u;
  for (std::size_t size :
       {shape.out_channels, shape.kernel_h, shape.kernel_w, shape.channels, shape.groups}) {
    for (int byte = 0; byte < 8; ++byte) {
      hash = (hash ^ static_cast<std::uint32_t>(size >> (8 * byte) & 0xff)) * 16777619u;
    }
  }
  return hash;
}

PanelHeader header(const ConvShape& shape, const PanelPlan& plan) {
  PanelHeader result = {};
  std::memcpy(result.magic, kMagic, sizeof(kMagic));
  std::strncpy(result.kernel, plan.kernel, sizeof(result.kernel) - 1);
  result.shape_digest = digest(shape);
  result.bytes = plan.bytes;
  return result;
}

std::size_t aligned(std::size_t bytes) {
  return (bytes + kPanelAlign - 1) / kPanelAlign * kPanelAlign;
}

// Bit c of each tap's words is filter c's only bit.
void depthwise_panel(const ConvShape& shape, const word_t* weight, word_t* out) {
  const std::size_t taps = shape.kernel_h * shape.kernel_w, row = words(shape.channels);
  std::memset(out, 0, taps * row * sizeof(word_t));
  for (std::size_t c = 0; c < shape.channels; ++c) {
    for (std::size_t tap = 0; tap < taps; ++tap) {
      out[tap * row + c / kWordBits] |= (weight[c * taps + tap] & 1) << (c % kWordBits);
    }
  }
}

}  // namespace

const BgemmKernel& panel_kernel(Isa isa) {
  return select_bgemm(std::numeric_limits<std::size_t>::max(), isa);
}

PanelPlan plan_panel(const ConvShape& shape, const BgemmKernel& kernel) {
  const std::size_t taps = shape.kernel_h * shape.kernel_w;
  if (is_depthwise(shape)) {
    const PanelShape group{shape.channels, taps, shape.channels, words(shape.channels)};
    const std::size_t bytes = aligned(taps * group.tap_words * sizeof(word_t));
    return {"bdepthwise", group, bytes, kPanelAlign + bytes};
  }
  const PanelShape group{shape.group_out_channels(), taps, shape.group_channels(),
                         words(shape.group_channels())};
  const std::size_t bytes = aligned(kernel.panel_bytes(group));
  return {kernel.name, group, bytes, bytes == 0 ? 0 : kPanelAlign + shape.groups * bytes};
}

std::size_t panel_bytes(const ConvShape& shape, Isa isa) {
  return plan_panel(shape, panel_kernel(isa)).bytes;
}

void make_panel(const ConvShape& shape, const word_t* weight, void* panel, Isa isa) {
  const BgemmKernel& kernel = panel_kernel(isa);
  const PanelPlan plan = plan_panel(shape, kernel);
  if (plan.bytes == 0) return;
  const PanelHeader head = header(shape, plan);
  std::memcpy(panel, &head, sizeof(head));
  char* data = static_cast<char*>(panel) + kPanelAlign;
  if (is_depthwise(shape)) {
    depthwise_panel(shape, weight, reinterpret_cast<word_t*>(data));
    return;
  }
  const std::size_t group_weight = plan.group.n * plan.group.taps * plan.group.tap_words;
  for (std::size_t g = 0; g < shape.groups; ++g) {
    kernel.make_panel(plan.group, weight + g * group_weight, data + g * plan.group_bytes);
  }
}

bool panel_fits(const ConvShape& shape, const void* panel, std::size_t bytes, Isa isa) {
  const PanelPlan plan = plan_panel(shape, panel_kernel(isa));
  if (plan.bytes == 0) return true;
  if (panel == nullptr || bytes != plan.bytes) return false;
  const PanelHeader expected = header(shape, plan);
  return std::memcmp(panel, &expected, sizeof(expected)) == 0;
}

}  // namespace bnn
