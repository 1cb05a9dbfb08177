// Version of the native library, equal to the Python distribution's.
#ifndef BNN_VERSION_H_
#define BNN_VERSION_H_

namespace bnn {

// Never null, e.g. "0.2.0.dev0"; "unknown" in a build outside the Python package.
const char* version();

}  // namespace bnn

#endif  // BNN_VERSION_H_
