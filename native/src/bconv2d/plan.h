// What of a binary convolution does not depend on its tensors: made once, run many times.
#pragma once

#include <vector>

#include "bconv2d/panel.h"
#include "bconv2d/regions.h"
#include "epilogue/epilogue.h"
#include "epilogue/thresholds.h"

namespace bnn {

struct ConvKernels {
  const char* name;
  void (*tile)(const TileArgs&);
  std::size_t mr;
  bool reads_panel;
  RowForm rows;
  std::size_t (*panel_bytes)(const PanelShape&);
  EpilogueKernel epilogue;
};

// Constant once made: many threads may run one plan at once.
class BConv2dPlan {
 public:
  BConv2dPlan(const ConvShape& shape, Isa isa);

  // Has run() compare counts where it would compute the bits of this epilogue, if they are as many
  // comparisons of counts; says so. From now on, run() is for it alone, with other buffers.
  bool compare_counts(const Epilogue& epilogue);

  // As bnn::bconv2d.
  void run(const word_t* x, const word_t* weight, const void* panel,
           const Epilogue& epilogue) const;

  const char* kernel() const { return kernels_.name; }

 private:
  ConvShape shape_;
  ConvKernels kernels_;
  Convolution sizes_;  // without x
  std::vector<Region> regions_;
  std::size_t tiles_ = 0;  // 0: there is nothing to do
  PanelPlan panel_{};
  std::vector<Thresholds> thresholds_;  // one for each number of bits; or none at all
  std::vector<std::size_t> of_region_;  // which of them
};

}  // namespace bnn
