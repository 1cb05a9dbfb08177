// How a convolution's sizes, addresses and ISA cross from Python, for the files that take them one
// by one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bindings.h"
#include "bnn/bconv2d.h"
#include "bnn/isa.h"

namespace {

using Address = std::uintptr_t;

template <typename T>
[[maybe_unused]] T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

inline bnn::Isa isa_of(int isa) { return static_cast<bnn::Isa>(isa); }

}  // namespace

// clang-format off
#define SHAPE_PARAMETERS                                                                       \
  std::size_t batch, std::size_t height, std::size_t width, std::size_t channels,              \
  std::size_t out_channels, std::size_t kernel_h, std::size_t kernel_w, std::size_t stride_h,  \
  std::size_t stride_w, std::size_t dilation_h, std::size_t dilation_w, std::size_t pad_top,   \
  std::size_t pad_bottom, std::size_t pad_left, std::size_t pad_right, std::size_t groups,     \
  int pad_value
#define SHAPE                                                                                  \
  bnn::ConvShape{batch, height, width, channels, out_channels, kernel_h, kernel_w, stride_h,   \
                 stride_w, dilation_h, dilation_w, pad_top, pad_bottom, pad_left, pad_right,   \
                 groups, pad_value}
// clang-format on
