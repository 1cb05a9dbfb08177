// Buffers of a program by their slots.
#pragma once

#include "bnn/program.h"

namespace bnn {

template <typename T>
T* at(Program::Addresses addresses, Program::Slot slot) {
  return slot == Program::kNone ? nullptr : static_cast<T*>(addresses[slot]);
}

// The epilogue with its buffers.
inline Epilogue bound(Epilogue epilogue, Program::Addresses addresses, Program::Slot out,
                      Program::Slot bits, Program::Slot residual) {
  epilogue.out = at<float>(addresses, out);
  epilogue.bits = at<word_t>(addresses, bits);
  epilogue.residual = at<float>(addresses, residual);
  return epilogue;
}

}  // namespace bnn
