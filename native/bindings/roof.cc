// How fast an inner loop could be: for benchmarks/kernels.py.
#include "bnn/roof.h"

#include "bindings.h"

void bind_roof(nanobind::module_& m) {
  namespace nb = nanobind;
  m.def(
      "roof", [](int isa) { return bnn::roof(static_cast<bnn::Isa>(isa)); },
      nb::call_guard<nb::gil_scoped_release>());
  m.def("roof_loop", [](int isa) { return bnn::roof_loop(static_cast<bnn::Isa>(isa)); });
}
