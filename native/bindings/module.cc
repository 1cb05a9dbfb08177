// Python module bnn._native. Bindings only: arguments were checked in Python.
#include "bindings.h"
#include "bnn/version.h"

NB_MODULE(_native, m) {
  m.doc() = "Native part of bnn.";
  m.def("version", &bnn::version, "Version that this native library was built for.");
  bind_runtime(m);
  bind_bconv2d(m);
  bind_pack(m);
  bind_pool(m);
  bind_weight_only(m);
  bind_roof(m);
  bind_conv2d(m);
  bind_program(m);
  bind_gradients(m);
}
