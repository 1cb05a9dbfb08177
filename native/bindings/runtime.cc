// The machine: instruction sets and threads.
#include "bindings.h"
#include "bnn/isa.h"
#include "bnn/threads.h"

void bind_runtime(nanobind::module_& m) {
  m.def("isa_name", [](int isa) { return bnn::isa_name(static_cast<bnn::Isa>(isa)); });
  m.def("isa_runs", [](int isa) { return bnn::isa_runs(static_cast<bnn::Isa>(isa)); });
  m.def("best_isa", [] { return static_cast<int>(bnn::best_isa()); });
  m.attr("isa_count") = bnn::kIsaCount;
  m.def("set_num_threads", &bnn::set_num_threads);
  m.def("num_threads", &bnn::num_threads);
}
