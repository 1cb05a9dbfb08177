// Packing and unpacking.
#include "bnn/pack.h"

#include <cstdint>

#include "bindings.h"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;

void pack(Address x, int dtype, std::size_t batch, std::size_t channels, std::size_t pixels,
          bool channels_last, Address scale, Address shift, Address out, int isa) {
  bnn::pack({reinterpret_cast<const void*>(x), static_cast<bnn::DType>(dtype), batch, channels,
             pixels, channels_last, reinterpret_cast<const float*>(scale),
             reinterpret_cast<const float*>(shift), reinterpret_cast<bnn::word_t*>(out)},
            static_cast<bnn::Isa>(isa));
}

void unpack(Address x, int dtype, std::size_t batch, std::size_t channels, std::size_t pixels,
            bool channels_last, Address out, int isa) {
  bnn::unpack({reinterpret_cast<const bnn::word_t*>(x), static_cast<bnn::DType>(dtype), batch,
               channels, pixels, channels_last, reinterpret_cast<void*>(out)},
              static_cast<bnn::Isa>(isa));
}

}  // namespace

void bind_pack(nb::module_& m) {
  using Release = nb::call_guard<nb::gil_scoped_release>;
  m.def("pack", &pack, Release());
  m.def("unpack", &unpack, Release());
}
