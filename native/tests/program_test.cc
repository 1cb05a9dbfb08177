// Programs: the same as the calls one by one, from many threads at once.
#include "bnn/program.h"

#include <atomic>
#include <thread>
#include <vector>

#include "bnn/pack.h"
#include "naive.h"

namespace bnn::test {
namespace {

struct Network {
  ConvShape shape;
  std::vector<word_t> weight;
  std::vector<float> scale;
  Aligned panel;
  Program program;

  static ConvShape layer() {
    ConvShape s = linear(2, 70, 90);
    s.height = s.width = 11;
    s.kernel_h = s.kernel_w = 3;
    s.pad_top = s.pad_bottom = s.pad_left = s.pad_right = 1;
    s.groups = 2;      // not of whole words: copied
    s.pad_value = -1;  // copied once more
    return s;
  }

  explicit Network(Isa isa)
      : shape(layer()),
        weight(packed_rows(random(), shape.out_channels * 9, shape.group_channels())),
        scale(shape.out_channels, 0.5f),
        panel(panel_bytes(shape, isa)),
        program(isa) {
    make_panel(shape, weight.data(), panel.get(), isa);
    Epilogue e;
    e.scale = scale.data();
    program.pack(0, 2, 70, 121, true, nullptr, nullptr, 1);
    program.bconv2d(shape, 1, weight.data(), panel.get(), 2, 3, Program::kNone, e);
    program.bglobal_avgpool(2, 121, 90, 3, 4);
  }

  struct Buffers {
    std::vector<float> x, out, mean;
    std::vector<word_t> packed, bits;
    std::vector<void*> addresses;

    explicit Buffers(std::vector<float> values)
        : x(std::move(values)), out(2 * 121 * 90), mean(2 * 90), packed(2 * 121 * 2), bits(packed) {
      addresses = {x.data(), packed.data(), out.data(), bits.data(), mean.data()};
    }
  };

  Buffers expected(const std::vector<float>& x, Isa isa) const {
    Buffers b(x);
    bnn::pack({x.data(), DType::kFloat32, 2, 70, 121, true, nullptr, nullptr, b.packed.data()},
              isa);
    Epilogue e;
    e.scale = scale.data();
    e.out = b.out.data();
    e.bits = b.bits.data();
    bnn::bconv2d(shape, b.packed.data(), weight.data(), panel.get(), e, isa);
    bnn::bglobal_avgpool(2, 121, 90, b.bits.data(), b.mean.data(), isa);
    return b;
  }
};

std::vector<float> image() {
  std::vector<float> x(2 * 121 * 70);
  for (float& v : x) v = random().real();
  return x;
}

bool same(const Network::Buffers& a, const Network::Buffers& b) {
  return a.packed == b.packed && a.out == b.out && a.bits == b.bits && a.mean == b.mean;
}

void equals_single_calls(Isa isa) {
  const Network network(isa);
  check(network.program.size() == 3 && network.program.slots() == 5, "3 operations, 5 slots");
  check(network.program.describe(1) == std::string("bconv2d ") + bconv2d_kernel(network.shape, isa),
        "described as %s", network.program.describe(1).c_str());
  for (int round = 0; round < effort(20); ++round) {
    const std::vector<float> x = image();
    Network::Buffers buffers(x), timed(x);
    network.program.run(buffers.addresses.data());
    std::vector<std::int64_t> times(3, -1);
    network.program.run_timed(timed.addresses.data(), times.data());
    const Network::Buffers want = network.expected(x, isa);
    check(same(buffers, want) && same(timed, want), "round %d", round);
    for (const std::int64_t time : times) check(time >= 0, "a negative time");
  }
}

void from_many_threads(Isa isa) {
  const Threads restore(2);
  const Network network(isa);
  std::vector<std::vector<float>> inputs;
  for (int i = 0; i < 6; ++i) inputs.push_back(image());
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (const std::vector<float>& x : inputs) {
    threads.emplace_back([&network, &wrong, &x, isa] {
      const Network::Buffers want = network.expected(x, isa);
      for (int i = 0; i < effort(20); ++i) {
        Network::Buffers buffers(x);
        network.program.run(buffers.addresses.data());
        if (!same(buffers, want)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  check(wrong == 0, "%d wrong runs", wrong.load());
}

const Registration table([] {
  add_for_each_isa("program", "equals_single_calls", equals_single_calls);
  add_for_each_isa("program", "from_many_threads_run_one", from_many_threads);
});

}  // namespace
}  // namespace bnn::test
