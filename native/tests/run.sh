#!/usr/bin/env bash
# Builds native/ without Python and runs its tests.
#
#   run.sh host    on this machine: as it ships, then with the address, undefined-behaviour and
#                  thread sanitizers
#   run.sh neon    for AArch64, with Debian's cross compiler and emulator
#
# Whatever is not tested is printed. EFFORT=PERCENT scales the number of random rounds.
set -euo pipefail
cd "$(dirname "$0")/../.."

build() { # folder, CMake's arguments
  local folder=build/native-$1
  shift
  cmake -S . -B "$folder" -DBNN_TESTS=ON "$@" >"$folder.log" 2>&1 &&
    cmake --build "$folder" --parallel "$(nproc)" >>"$folder.log" 2>&1 || {
    cat "$folder.log" >&2
    return 1
  }
}

host() {
  build plain
  build/native-plain/bnn_tests --effort "${EFFORT:-100}"
  build address -DBNN_SANITIZE=address,undefined
  build/native-address/bnn_tests --effort "${EFFORT:-50}"
  # A compiler may come without the thread sanitizer, and a kernel's address layout may defeat it.
  local probe=build/native-thread-probe
  if ! { echo 'int main() {}' | c++ -fsanitize=thread -x c++ -o "$probe" - && "$probe"; } \
    >"$probe.log" 2>&1; then
    echo "thread sanitizer: not tested here ($(tail -n 1 "$probe.log"))"
    return
  fi
  build thread -DBNN_SANITIZE=thread
  build/native-thread/bnn_tests --effort "${EFFORT:-20}" threads
}

# Prints why the cross compiler and the emulator cannot be had; nothing if they are there.
missing_neon_tools() {
  have_neon_tools && return
  local root=()
  if [ "$(id -u)" -ne 0 ]; then root=(sudo -n); fi
  command -v apt-get >/dev/null || { echo "no apt-get" && return; }
  "${root[@]}" true 2>/dev/null || { echo "not root, and no sudo" && return; }
  export DEBIAN_FRONTEND=noninteractive
  timeout 300 "${root[@]}" apt-get update >build/native-neon-apt.log 2>&1 &&
    timeout 600 "${root[@]}" apt-get install -y --no-install-recommends g++-aarch64-linux-gnu \
      qemu-user-static >>build/native-neon-apt.log 2>&1 || true
  have_neon_tools || echo "apt-get: $(tail -n 1 build/native-neon-apt.log)"
}

have_neon_tools() {
  command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64-static >/dev/null
}

neon() {
  local missing
  missing=$(missing_neon_tools)
  if [ -n "$missing" ]; then
    echo "neon: not tested here ($missing)"
    return
  fi
  build neon --toolchain native/cmake/aarch64.cmake
  qemu-aarch64-static build/native-neon/bnn_tests --effort "${EFFORT:-20}"
}

mkdir -p build
case "${1:-}" in
host | neon) "$1" ;;
*)
  echo "usage: $0 host|neon" >&2
  exit 2
  ;;
esac
