// A program's operations on bits.
#include <memory>

#include "bconv2d/plan.h"
#include "bnn/pack.h"
#include "bnn/weight_only.h"
#include "program/slots.h"

namespace bnn {

void Program::bconv2d(const ConvShape& shape, Slot x, const word_t* weight, const void* panel,
                      Slot out, Slot bits, Slot residual, const Epilogue& epilogue) {
  // Shared: std::function copies what it holds.
  const auto plan = std::make_shared<BConv2dPlan>(shape, isa_);
  if (out == kNone && bits != kNone) plan->compare_counts(epilogue);
  add(std::string("bconv2d ") + plan->kernel(), {x, out, bits, residual}, [=](Addresses slots) {
    plan->run(at<word_t>(slots, x), weight, panel, bound(epilogue, slots, out, bits, residual));
  });
}

void Program::pack(Slot x, std::size_t batch, std::size_t channels, std::size_t pixels,
                   bool channels_last, const float* scale, const float* shift, Slot out) {
  add("pack", {x, out}, [=, isa = isa_](Addresses slots) {
    bnn::pack({at<float>(slots, x), DType::kFloat32, batch, channels, pixels, channels_last, scale,
               shift, at<word_t>(slots, out)},
              isa);
  });
}

void Program::unpack(Slot x, std::size_t batch, std::size_t channels, std::size_t pixels,
                     bool channels_last, Slot out) {
  add("unpack", {x, out}, [=, isa = isa_](Addresses slots) {
    bnn::unpack({at<word_t>(slots, x), DType::kFloat32, batch, channels, pixels, channels_last,
                 at<float>(slots, out)},
                isa);
  });
}

void Program::bmaxpool2d(const PoolShape& shape, Slot x, Slot out) {
  add("bmaxpool2d", {x, out}, [=, isa = isa_](Addresses slots) {
    bnn::bmaxpool2d(shape, at<word_t>(slots, x), at<word_t>(slots, out), isa);
  });
}

void Program::bglobal_avgpool(std::size_t batch, std::size_t pixels, std::size_t channels, Slot x,
                              Slot out) {
  add("bglobal_avgpool", {x, out}, [=, isa = isa_](Addresses slots) {
    bnn::bglobal_avgpool(batch, pixels, channels, at<word_t>(slots, x), at<float>(slots, out), isa);
  });
}

void Program::bconcat(std::size_t rows, const std::vector<Slot>& x,
                      const std::vector<std::size_t>& channels, Slot out) {
  for (const Slot slot : x) use(slot);
  add("bconcat", {out}, [=, isa = isa_](Addresses slots) {
    std::vector<const word_t*> inputs;
    for (const Slot slot : x) inputs.push_back(at<word_t>(slots, slot));
    bnn::bconcat(rows, inputs.size(), inputs.data(), channels.data(), at<word_t>(slots, out), isa);
  });
}

void Program::bchannel_shuffle(std::size_t rows, std::size_t channels, std::size_t groups, Slot x,
                               Slot out) {
  add("bchannel_shuffle", {x, out}, [=, isa = isa_](Addresses slots) {
    bnn::bchannel_shuffle(rows, channels, groups, at<word_t>(slots, x), at<word_t>(slots, out),
                          isa);
  });
}

void Program::weight_only_conv2d(const ConvShape& shape, Slot x, const word_t* weight,
                                 const float* scale, const float* bias, Slot out) {
  add("weight_only_conv2d", {x, out}, [=, isa = isa_](Addresses slots) {
    bnn::weight_only_conv2d(shape, at<float>(slots, x), weight, scale, bias, at<float>(slots, out),
                            isa);
  });
}

}  // namespace bnn
