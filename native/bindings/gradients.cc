// What a training step does around a product of signs.
#include "bnn/gradients.h"

#include <cstdint>

#include "bindings.h"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;

void clip_bits(Address x, std::size_t count, Address out, int isa) {
  bnn::clip_bits(reinterpret_cast<const float*>(x), count, reinterpret_cast<bnn::word_t*>(out),
                 static_cast<bnn::Isa>(isa));
}

void keep_bits(Address x, std::size_t count, Address bits, int isa) {
  bnn::keep_bits(reinterpret_cast<float*>(x), count, reinterpret_cast<const bnn::word_t*>(bits),
                 static_cast<bnn::Isa>(isa));
}

void write_signs(Address x, std::size_t rows, std::size_t columns, Address scale, Address out,
                 int isa) {
  bnn::write_signs({reinterpret_cast<const float*>(x), rows, columns,
                    reinterpret_cast<const float*>(scale), reinterpret_cast<float*>(out)},
                   static_cast<bnn::Isa>(isa));
}

void latent_gradient(Address weight, std::size_t rows, std::size_t columns, Address scale,
                     bool mean, Address grad, Address along, int isa) {
  bnn::latent_gradient(
      {reinterpret_cast<const float*>(weight), rows, columns, reinterpret_cast<const float*>(scale),
       mean, reinterpret_cast<float*>(grad), reinterpret_cast<float*>(along)},
      static_cast<bnn::Isa>(isa));
}

void prelu_gradient(Address x, std::size_t batch, std::size_t channels, std::size_t pixels,
                    bool channels_last, Address slope, Address grad, Address grad_x, Address along,
                    int isa) {
  bnn::prelu_gradient({reinterpret_cast<const float*>(x), batch, channels, pixels, channels_last,
                       reinterpret_cast<const float*>(slope), reinterpret_cast<const float*>(grad),
                       reinterpret_cast<float*>(grad_x), reinterpret_cast<float*>(along)},
                      static_cast<bnn::Isa>(isa));
}

}  // namespace

void bind_gradients(nb::module_& m) {
  using Release = nb::call_guard<nb::gil_scoped_release>;
  m.def("clip_bits", &clip_bits, Release());
  m.def("keep_bits", &keep_bits, Release());
  m.def("write_signs", &write_signs, Release());
  m.def("latent_gradient", &latent_gradient, Release());
  m.def("prelu_gradient", &prelu_gradient, Release());
}
