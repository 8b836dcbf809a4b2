# For etc/test: how to build and test with a sanitizer, in a directory of its own, and what does not count.
# shellcheck shell=bash

build_options=(--sanitize "$1" --scratch-path ".build-$1")
case $1 in
    address)
        test_command=(env ASAN_OPTIONS=detect_leaks=1 LSAN_OPTIONS="suppressions=$root/etc/scripts/lsan.supp:print_suppressions=0")
        test_options=("${build_options[@]}")
        ;;
    thread)
        # Of the same LLVM as the sanitizer.
        "$(dirname "$(readlink -f "$(command -v swift)")")/clang" -shared -fPIC -O1 -o "$state/tsan.so" etc/scripts/tsan.c
        test_command=(env LD_PRELOAD="$state/tsan.so")
        # Beside each other the tests would be slower than the patience of those they test.
        test_options=("${build_options[@]}" --no-parallel)
        ;;
    *) die "--sanitize address or thread, not $1" ;;
esac
