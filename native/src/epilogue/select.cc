#include "epilogue/epilogue.h"

namespace bnn {

#define BNN_EPILOGUE(name, needs, priority) \
  namespace name {                          \
  void run(const EpilogueTile& tile);       \
  }
#include "epilogue/epilogue.inc"
#undef BNN_EPILOGUE

EpilogueKernel select_epilogue(Isa isa) {
  EpilogueKernel best = nullptr;
  int best_priority = -1;
#define BNN_EPILOGUE(name, needs, priority)                     \
  if (isa_includes(isa, needs) && (priority) > best_priority) { \
    best = name::run;                                           \
    best_priority = priority;                                   \
  }
#include "epilogue/epilogue.inc"
#undef BNN_EPILOGUE
  return best;
}

}  // namespace bnn
