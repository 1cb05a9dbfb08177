// A program's operations on floats.
#include <memory>

#include "conv2d/plan.h"
#include "program/slots.h"
#include "winograd/pooled.h"

namespace bnn {

namespace {

// A plan's run as an operation. Shared: std::function copies what it holds.
template <typename Plan>
std::function<void(Program::Addresses)> bind_plan(std::shared_ptr<const Plan> plan, Program::Slot x,
                                                  const void* panel, Program::Slot out,
                                                  Program::Slot bits, Program::Slot residual,
                                                  const Epilogue& epilogue) {
  return [=](Program::Addresses slots) {
    plan->run(at<float>(slots, x), panel, bound(epilogue, slots, out, bits, residual));
  };
}

}  // namespace

void Program::conv2d(const ConvShape& shape, bool x_nchw, Slot x, const void* panel, Slot out,
                     Slot bits, Slot residual, const Epilogue& epilogue) {
  const auto add_plan = [&](auto plan) {
    add(std::string("conv2d ") + plan->kernel(), {x, out, bits, residual},
        bind_plan(plan, x, panel, out, bits, residual, epilogue));
  };
  if (is_winograd(shape)) {
    add_plan(std::make_shared<const WinogradPlan>(shape, x_nchw, isa_));
  } else {
    add_plan(std::make_shared<const FloatPlan>(shape, x_nchw, isa_));
  }
}

bool fuses_maxpool2d(const ConvShape& conv, const Epilogue& between, const PoolShape& pool) {
  return is_pooled_winograd(conv, between, pool);
}

void Program::conv2d_maxpool2d(const ConvShape& shape, bool x_nchw, Slot x, const void* panel,
                               const Epilogue& between, const PoolShape& pool, Slot out, Slot bits,
                               Slot residual, const Epilogue& epilogue) {
  const auto plan = std::make_shared<const PooledWinogradPlan>(shape, x_nchw, pool, isa_);
  add(std::string("conv2d_maxpool2d ") + plan->kernel(), {x, out, bits, residual},
      [=](Addresses slots) {
        plan->run(at<float>(slots, x), panel, between, bound(epilogue, slots, out, bits, residual));
      });
}

void Program::maxpool2d(const PoolShape& shape, Slot x, Slot out, Slot bits, Slot residual,
                        const Epilogue& epilogue) {
  const auto plan = std::make_shared<const FloatPlan>(shape, Window::kMaximum, false, isa_);
  add("maxpool2d", {x, out, bits, residual},
      bind_plan(plan, x, nullptr, out, bits, residual, epilogue));
}

void Program::avgpool2d(const PoolShape& shape, bool count_include_pad, Slot x, Slot out, Slot bits,
                        Slot residual, const Epilogue& epilogue) {
  const auto plan =
      std::make_shared<const FloatPlan>(shape, Window::kMean, count_include_pad, isa_);
  add("avgpool2d", {x, out, bits, residual},
      bind_plan(plan, x, nullptr, out, bits, residual, epilogue));
}

void Program::global_avgpool(std::size_t batch, std::size_t pixels, std::size_t channels, Slot x,
                             Slot out, Slot bits, Slot residual, const Epilogue& epilogue) {
  const auto plan = std::make_shared<const FloatPlan>(global_window(batch, pixels, channels),
                                                      Window::kMean, true, isa_);
  add("global_avgpool", {x, out, bits, residual},
      bind_plan(plan, x, nullptr, out, bits, residual, epilogue));
}

void Program::map(std::size_t rows, std::size_t channels, Slot x, Slot out, Slot bits,
                  Slot residual, const Epilogue& epilogue) {
  add("map", {x, out, bits, residual}, [=, isa = isa_](Addresses slots) {
    bnn::map(rows, channels, at<float>(slots, x), bound(epilogue, slots, out, bits, residual), isa);
  });
}

void Program::multiply(std::size_t rows, std::size_t channels, Slot x, Slot by, std::size_t rows_by,
                       Slot out, Slot bits, Slot residual, const Epilogue& epilogue) {
  add("multiply", {x, by, out, bits, residual}, [=, isa = isa_](Addresses slots) {
    bnn::multiply(rows, channels, at<float>(slots, x), at<float>(slots, by), rows_by,
                  bound(epilogue, slots, out, bits, residual), isa);
  });
}

void Program::level(std::size_t rows, std::size_t channels, Slot x, std::size_t levels,
                    std::size_t plane, Slot out, Slot bits, Slot residual,
                    const Epilogue& epilogue) {
  add("level", {x, out, bits, residual}, [=, isa = isa_](Addresses slots) {
    bnn::level(rows, channels, at<float>(slots, x), levels, plane,
               bound(epilogue, slots, out, bits, residual), isa);
  });
}

void Program::concat(std::size_t rows, const std::vector<Slot>& x,
                     const std::vector<std::size_t>& channels, Slot out, Slot bits, Slot residual,
                     const Epilogue& epilogue) {
  for (const Slot slot : x) use(slot);
  add("concat", {out, bits, residual}, [=, isa = isa_](Addresses slots) {
    std::vector<const float*> inputs;
    for (const Slot slot : x) inputs.push_back(at<float>(slots, slot));
    bnn::concat(rows, inputs.size(), inputs.data(), channels.data(),
                bound(epilogue, slots, out, bits, residual), isa);
  });
}

void Program::to_nhwc(std::size_t batch, std::size_t channels, std::size_t pixels, Slot x,
                      Slot out) {
  add("to_nhwc", {x, out}, [=, isa = isa_](Addresses slots) {
    bnn::to_nhwc(batch, channels, pixels, at<float>(slots, x), at<float>(slots, out), isa);
  });
}

void Program::to_nchw(std::size_t batch, std::size_t channels, std::size_t pixels, Slot x,
                      Slot out) {
  add("to_nchw", {x, out}, [=, isa = isa_](Addresses slots) {
    bnn::to_nchw(batch, channels, pixels, at<float>(slots, x), at<float>(slots, out), isa);
  });
}

}  // namespace bnn
