#!/usr/bin/env bash
# Builds and tests moejit.
#
#     tools/test.sh [quick | full | nightly]      full if none is given
#
# quick    host tests and a few layers on the emulator: under a minute once built
# full     the rest of the kernels' numerics, sanitizer builds, clang, a minute of fuzzing, every kernel for every arch
# nightly  full, the mutations and clean runs with 200 seeds each, a thousand random layers of the covering table's factors
#          on sm_80, sm_90a and sm_120a, every kernel of kernels_compile.sh's layers for every arch, a compiler killed at
#          200 moments, and every numerics test with both ways of tensor-core sums
#
# Exit status 0 if all passed.
set -euo pipefail
tier=${1:-full}
case "$tier" in
quick | full | nightly) ;;
-h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
*) echo "tools/test.sh: \"$tier\" is no tier; needs quick, full or nightly" >&2; exit 2 ;;
esac
. "$(dirname "${BASH_SOURCE[0]}")/prepare.sh"
need_packages
need_cuda
[ "$tier" = quick ] || need_nvdisasm
export MOEJIT_CACHE_DIR="$root/build/test-cache"
mkdir -p "$MOEJIT_CACHE_DIR"
chmod 700 "$MOEJIT_CACHE_DIR"

passed=0
failed=0
# step NAME command...: runs it, prints its last lines where it fails
step() {
    local name="$1" start=$SECONDS log
    shift
    log="$root/build/test-$name.log"
    if "$@" >"$log" 2>&1; then
        passed=$((passed + 1))
        echo "ok   $name ($((SECONDS - start)) s)"
    else
        failed=$((failed + 1))
        echo "BAD  $name ($((SECONDS - start)) s), $log ends with:"
        tail -40 "$log"
    fi
    grep -hE '^[0-9]+% tests passed' "$log" || true
}

echo "building"
build "$root/build" -DMOEJIT_BUILD_TESTS=ON
tests() { ctest --test-dir "$1" --no-tests=error --output-on-failure -j "$(nproc)" "${@:2}"; }
# fuzz NAME SECONDS: what libFuzzer finds new goes to the build tree, not to the corpus
fuzz() {
    mkdir -p "$root/build/fuzz/found-$1"
    "$root/build/fuzz/bin/fuzz_$1" -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -dict="$root/tests/fuzz/corpus/$1.dict" -artifact_prefix="$root/build/fuzz/" \
        "$root/build/fuzz/found-$1" "$root/tests/fuzz/corpus/$1"
}
if [ "$tier" = quick ]; then
    step quick tests "$root/build" -L 'host|quick'
else
    step full tests "$root/build"
    # What a GPU is judged by, as far as the emulator can play it.
    step gpu-check env MOEJIT_CUDA_LIBRARY="$root/build/emulator/libcuda.so.1" MOEJIT_PTX_ONLY=1 OUT="$root/build/gpu-check" \
        "$root/tools/gpu_check.sh" --tiny numerics models cache bench figures
    if command -v clang >/dev/null; then
        step clang-build build "$root/build/clang" -DCMAKE_C_COMPILER=clang
    fi
    for sanitizer in address,undefined thread; do
        name=${sanitizer%%,*}
        step "$name-build" build "$root/build/$name" -DMOEJIT_SANITIZE="$sanitizer" -DCMAKE_BUILD_TYPE=Debug
        step "$name" tests "$root/build/$name" -L "host|sanitized|$name"
    done
    need_clang
    step fuzz-build build "$root/build/fuzz" -DCMAKE_C_COMPILER=clang -DMOEJIT_SANITIZE=address,undefined,fuzzer-no-link -DMOEJIT_BUILD_FUZZERS=ON \
        -DMOEJIT_BUILD_TESTS=OFF -DMOEJIT_BUILD_TOOLS=OFF -DMOEJIT_BUILD_EMULATOR=OFF
    step fuzz-safetensors fuzz safetensors 40
    step fuzz-config fuzz config 20
    # Another version formats otherwise.
    if clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
        step format bash -c "cd '$root' && git ls-files '*.c' '*.h' | grep -v -e kernel_sources -e embedded | xargs clang-format --dry-run -Werror"
    fi
fi
if [ "$tier" = nightly ]; then
    export MOEJIT_CUDA_LIBRARY="$root/build/emulator/libcuda.so.1"
    step mutations env MOEJIT_EMULATOR_ARCH=sm_90a "$root/build/bin/mutations" "$root/tests/emulator/mutations.txt"
    step random-sm_90a env MOEJIT_EMULATOR_ARCH=sm_90a "$root/build/bin/test_kernels" 0 2 random
    step kill-200 env FAKE_NVRTC="$root/build/tests/libfake_nvrtc.so" "$root/build/bin/test_single_flight" 200
    step kernels-compile "$root/tests/checks/kernels_compile.sh" "$root/build/bin/moejit" "$root/build/bin/ptx_table" all
    step random-sm_80 env MOEJIT_EMULATOR_ARCH=sm_80 "$root/build/bin/test_kernels" 1 2 random
    step random-fp4 env MOEJIT_EMULATOR_ARCH=sm_120a "$root/build/bin/test_kernels" 0 2 random fp4
    # Every numerics test with the other way of tensor-core sums, of which full runs a part.
    nearest=(env MOEJIT_EMULATOR_SUMS=nearest MOEJIT_PTX_ONLY=1)
    for family in portable hopper; do
        step "nearest-$family" "${nearest[@]}" MOEJIT_EMULATOR_ARCH=sm_90a "$root/build/bin/test_kernels" 0 1 "$family"
    done
    step nearest-fp4 "${nearest[@]}" MOEJIT_EMULATOR_ARCH=sm_120a "$root/build/bin/test_kernels" 0 1 fp4
    for name in folded shared_tiles batch_invariant fp4_family forward; do
        step "nearest-$name" "${nearest[@]}" MOEJIT_EMULATOR_ARCH=$([ $name = fp4_family ] && echo sm_120a || echo sm_90a) "$root/build/bin/test_$name"
    done
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
