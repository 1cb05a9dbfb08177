// Pooling, concatenation, channel shuffle.
#include "bnn/pool.h"

#include <nanobind/stl/vector.h>

#include <cstdint>
#include <vector>

#include "bindings.h"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;
using Size = std::size_t;

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

bnn::Isa isa_of(int isa) { return static_cast<bnn::Isa>(isa); }

// clang-format off
#define SHAPE_PARAMETERS                                                                     \
  Size batch, Size height, Size width, Size channels, Size kernel_h, Size kernel_w,          \
  Size stride_h, Size stride_w, Size pad_top, Size pad_left, Size dilation_h,                \
  Size dilation_w, Size out_h, Size out_w
#define SHAPE                                                                                \
  bnn::PoolShape{batch, height, width, channels, kernel_h, kernel_w, stride_h, stride_w,     \
                 pad_top, pad_left, dilation_h, dilation_w, out_h, out_w}
// clang-format on

void bmaxpool2d(Address x, Address out, SHAPE_PARAMETERS, int isa) {
  bnn::bmaxpool2d(SHAPE, at<bnn::word_t>(x), at<bnn::word_t>(out), isa_of(isa));
}

void bglobal_avgpool(Size batch, Size pixels, Size channels, Address x, Address out, int isa) {
  bnn::bglobal_avgpool(batch, pixels, channels, at<bnn::word_t>(x), at<float>(out), isa_of(isa));
}

void avgpool2d(Address x, Address out, SHAPE_PARAMETERS, bool count_include_pad, int isa) {
  bnn::avgpool2d(SHAPE, count_include_pad, at<float>(x), at<float>(out), isa_of(isa));
}

void bconcat(Size rows, const std::vector<Address>& inputs, const std::vector<Size>& channels,
             Address out, int isa) {
  std::vector<const bnn::word_t*> x;
  for (const Address input : inputs) x.push_back(at<bnn::word_t>(input));
  bnn::bconcat(rows, x.size(), x.data(), channels.data(), at<bnn::word_t>(out), isa_of(isa));
}

void bchannel_shuffle(Size rows, Size channels, Size groups, Address x, Address out, int isa) {
  bnn::bchannel_shuffle(rows, channels, groups, at<bnn::word_t>(x), at<bnn::word_t>(out),
                        isa_of(isa));
}

}  // namespace

void bind_pool(nb::module_& m) {
  using Release = nb::call_guard<nb::gil_scoped_release>;
  m.def("bmaxpool2d", &bmaxpool2d, Release());
  m.def("bglobal_avgpool", &bglobal_avgpool, Release());
  m.def("avgpool2d", &avgpool2d, Release());
  m.def("bconcat", &bconcat, Release());
  m.def("bchannel_shuffle", &bchannel_shuffle, Release());
}
