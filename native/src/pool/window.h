// The taps of a pooling window along one axis.
#pragma once

#include <cstddef>

namespace bnn {

// The taps [begin, end) of a window.
struct Taps {
  std::size_t begin, end;
  std::size_t first;  // where tap `begin` lies, if there is any

  std::size_t count() const { return end - begin; }
};

// Those taps of the window with index `out` that lie in [0, size). The axis has `pad` elements of
// padding before it.
inline Taps taps_inside(std::size_t out, std::size_t stride, std::size_t dilation,
                        std::size_t kernel, std::size_t pad, std::size_t size) {
  const std::size_t start = out * stride;  // in the padded axis
  const std::size_t skipped = start >= pad ? 0 : (pad - start + dilation - 1) / dilation;
  const std::size_t begin = skipped < kernel ? skipped : kernel;
  const std::size_t limit = pad + size;
  const std::size_t fit = start >= limit ? 0 : (limit - start + dilation - 1) / dilation;
  const std::size_t end = fit < kernel ? fit : kernel;
  return {begin, end > begin ? end : begin, start + begin * dilation - pad};
}

}  // namespace bnn
