#include "bnn/version.h"

#ifndef BNN_VERSION
#define BNN_VERSION "unknown"
#endif

namespace bnn {

const char* version() { return BNN_VERSION; }

}  // namespace bnn
