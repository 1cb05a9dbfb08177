// What each file of this folder adds to the module. Pointers cross as integers, 0 is null.
#pragma once

#include <nanobind/nanobind.h>

void bind_runtime(nanobind::module_& m);
void bind_bconv2d(nanobind::module_& m);
void bind_pack(nanobind::module_& m);
void bind_pool(nanobind::module_& m);
void bind_weight_only(nanobind::module_& m);
void bind_roof(nanobind::module_& m);
void bind_conv2d(nanobind::module_& m);
void bind_program(nanobind::module_& m);
void bind_gradients(nanobind::module_& m);
