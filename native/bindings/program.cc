// A whole network in one call. Operations name their buffers by slots, constants by address.
#include "bnn/program.h"

#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <vector>

#include "bindings.h"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;
using Size = std::size_t;
using Slot = bnn::Program::Slot;
using Conv = std::array<std::int64_t, 17>;   // bnn::ConvShape
using Pool = std::array<Size, 14>;           // bnn::PoolShape
using Steps = std::array<std::int64_t, 14>;  // bnn.packed.epilogue.Epilogue
using Epilogue = std::optional<Steps>;

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

bnn::ConvShape conv(const Conv& s) {
  std::array<Size, 16> n;
  for (Size i = 0; i < n.size(); ++i) n[i] = static_cast<Size>(s[i]);
  return {n[0],
          n[1],
          n[2],
          n[3],
          n[4],
          n[5],
          n[6],
          n[7],
          n[8],
          n[9],
          n[10],
          n[11],
          n[12],
          n[13],
          n[14],
          n[15],
          static_cast<int>(s[16])};
}

bnn::PoolShape pool(const Pool& n) {
  return {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13]};
}

bnn::Epilogue epilogue(const Epilogue& steps) {
  bnn::Epilogue e;
  if (!steps) return e;
  const auto floats = [&](int i) { return at<const float>(static_cast<Address>((*steps)[i])); };
  const auto activation = [&](int i) { return static_cast<bnn::Activation>((*steps)[i]); };
  e.scale = floats(0);
  e.bias = floats(1);
  e.post_scale = floats(2);
  e.first_activation = activation(3);
  e.first_slope = floats(4);
  e.affine_scale = floats(5);
  e.affine_shift = floats(6);
  e.residual_at = static_cast<bnn::ResidualAt>((*steps)[7]);
  e.second_shift_in = floats(8);
  e.second_activation = activation(9);
  e.second_slope = floats(10);
  e.second_shift_out = floats(11);
  e.bit_scale = floats(12);
  e.bit_shift = floats(13);
  return e;
}

// A program that has run is closed: threads may be reading it.
struct Program {
  bnn::Program native;
  bool closed = false;  // changed with the GIL held

  explicit Program(int isa) : native(static_cast<bnn::Isa>(isa)) {}

  bnn::Program& open() {
    if (closed) throw std::invalid_argument("a program that has run cannot be changed");
    return native;
  }
  bnn::Program::Addresses close(const std::vector<Address>& addresses) {
    if (addresses.size() < native.slots()) {
      throw std::invalid_argument("the program has " + std::to_string(native.slots()) +
                                  " slots, but " + std::to_string(addresses.size()) +
                                  " addresses are given");
    }
    closed = true;
    return reinterpret_cast<void* const*>(addresses.data());
  }
};

void run(Program& p, const std::vector<Address>& addresses) {
  const auto slots = p.close(addresses);
  const nb::gil_scoped_release release;
  p.native.run(slots);
}

std::vector<std::int64_t> run_timed(Program& p, const std::vector<Address>& addresses) {
  const auto slots = p.close(addresses);
  std::vector<std::int64_t> nanoseconds(p.native.size());
  const nb::gil_scoped_release release;
  p.native.run_timed(slots, nanoseconds.data());
  return nanoseconds;
}

const std::string& describe(const Program& p, Size i) {
  if (i >= p.native.size()) throw nb::index_error("no such operation");
  return p.native.describe(i);
}

void bind_bit_operations(nb::class_<Program>& c) {
  c.def(
      "bconv2d",
      [](Program& p, const Conv& shape, Slot x, Address weight, Address panel, Slot out, Slot bits,
         Slot residual, const Epilogue& steps) {
        p.open().bconv2d(conv(shape), x, at<bnn::word_t>(weight), at<void>(panel), out, bits,
                         residual, epilogue(steps));
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg().none());
  c.def("pack", [](Program& p, Slot x, Size batch, Size channels, Size pixels, bool channels_last,
                   Address scale, Address shift, Slot out) {
    p.open().pack(x, batch, channels, pixels, channels_last, at<float>(scale), at<float>(shift),
                  out);
  });
  c.def("unpack",
        [](Program& p, Slot x, Size batch, Size channels, Size pixels, bool channels_last,
           Slot out) { p.open().unpack(x, batch, channels, pixels, channels_last, out); });
  c.def("bmaxpool2d", [](Program& p, const Pool& shape, Slot x, Slot out) {
    p.open().bmaxpool2d(pool(shape), x, out);
  });
  c.def("bglobal_avgpool",
        [](Program& p, Size batch, Size pixels, Size channels, Slot x, Slot out) {
          p.open().bglobal_avgpool(batch, pixels, channels, x, out);
        });
  c.def("bconcat",
        [](Program& p, Size rows, const std::vector<Slot>& x, const std::vector<Size>& channels,
           Slot out) { p.open().bconcat(rows, x, channels, out); });
  c.def("bchannel_shuffle",
        [](Program& p, Size rows, Size channels, Size groups, Slot x, Slot out) {
          p.open().bchannel_shuffle(rows, channels, groups, x, out);
        });
  c.def("weight_only_conv2d", [](Program& p, const Conv& shape, Slot x, Address weight,
                                 Address scale, Address bias, Slot out) {
    p.open().weight_only_conv2d(conv(shape), x, at<bnn::word_t>(weight), at<float>(scale),
                                at<float>(bias), out);
  });
}

void bind_float_operations(nb::class_<Program>& c) {
  c.def(
      "conv2d",
      [](Program& p, const Conv& shape, bool x_nchw, Slot x, Address panel, Slot out, Slot bits,
         Slot residual, const Epilogue& steps) {
        p.open().conv2d(conv(shape), x_nchw, x, at<void>(panel), out, bits, residual,
                        epilogue(steps));
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg().none());
  c.def(
      "conv2d_maxpool2d",
      [](Program& p, const Conv& shape, bool x_nchw, Slot x, Address panel, const Epilogue& between,
         const Pool& window, Slot out, Slot bits, Slot residual, const Epilogue& steps) {
        p.open().conv2d_maxpool2d(conv(shape), x_nchw, x, at<void>(panel), epilogue(between),
                                  pool(window), out, bits, residual, epilogue(steps));
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg(), nb::arg().none());
  c.def(
      "maxpool2d",
      [](Program& p, const Pool& shape, Slot x, Slot out, Slot bits, Slot residual,
         const Epilogue& steps) {
        p.open().maxpool2d(pool(shape), x, out, bits, residual, epilogue(steps));
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  c.def(
      "avgpool2d",
      [](Program& p, const Pool& shape, bool count_include_pad, Slot x, Slot out, Slot bits,
         Slot residual, const Epilogue& steps) {
        p.open().avgpool2d(pool(shape), count_include_pad, x, out, bits, residual, epilogue(steps));
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  c.def(
      "global_avgpool",
      [](Program& p, Size batch, Size pixels, Size channels, Slot x, Slot out, Slot bits,
         Slot residual, const Epilogue& steps) {
        p.open().global_avgpool(batch, pixels, channels, x, out, bits, residual, epilogue(steps));
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg().none());
  c.def(
      "map",
      [](Program& p, Size rows, Size channels, Slot x, Slot out, Slot bits, Slot residual,
         const Epilogue& steps) {
        p.open().map(rows, channels, x, out, bits, residual, epilogue(steps));
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  c.def(
      "multiply",
      [](Program& p, Size rows, Size channels, Slot x, Slot by, Size rows_by, Slot out, Slot bits,
         Slot residual, const Epilogue& steps) {
        p.open().multiply(rows, channels, x, by, rows_by, out, bits, residual, epilogue(steps));
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg().none());
  c.def(
      "level",
      [](Program& p, Size rows, Size channels, Slot x, Size levels, Size plane, Slot out, Slot bits,
         Slot residual, const Epilogue& steps) {
        p.open().level(rows, channels, x, levels, plane, out, bits, residual, epilogue(steps));
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg().none());
  c.def(
      "concat",
      [](Program& p, Size rows, const std::vector<Slot>& x, const std::vector<Size>& channels,
         Slot out, Slot bits, Slot residual, const Epilogue& steps) {
        p.open().concat(rows, x, channels, out, bits, residual, epilogue(steps));
      },
      nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
  c.def("to_nhwc", [](Program& p, Size batch, Size channels, Size pixels, Slot x, Slot out) {
    p.open().to_nhwc(batch, channels, pixels, x, out);
  });
  c.def("to_nchw", [](Program& p, Size batch, Size channels, Size pixels, Slot x, Slot out) {
    p.open().to_nchw(batch, channels, pixels, x, out);
  });
}

}  // namespace

void bind_program(nb::module_& m) {
  m.def(
      "fuses_maxpool2d",
      [](const Conv& shape, const Epilogue& between, const Pool& window) {
        return bnn::fuses_maxpool2d(conv(shape), epilogue(between), pool(window));
      },
      nb::arg(), nb::arg().none(), nb::arg());
  nb::class_<Program> c(m, "Program");
  c.def(nb::init<int>());
  bind_bit_operations(c);
  bind_float_operations(c);
  c.def("run", &run);
  c.def("run_timed", &run_timed);
  c.def("__len__", [](const Program& p) { return p.native.size(); });
  c.def("describe", &describe);
  c.def_prop_ro("slots", [](const Program& p) { return p.native.slots(); });
}
