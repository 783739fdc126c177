#!/usr/bin/env bash
# Installs into a fresh prefix, builds the examples against it by pkg-config and by find_package, runs them.
#
#     install.sh SOURCE BUILD EMULATOR FAKE_NVRTC
set -euo pipefail
source=$1 build=$2 emulator=$3 fake=$4
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cmake --install "$build" --prefix "$place/prefix" >/dev/null

# The README holds the example word for word.
awk '/^```c$/ {inside = 1; next} /^```$/ {inside = 0} inside' "$source/README.md" | diff - "$source/examples/prepare.c"

export MOEJIT_CUDA_LIBRARY=$emulator MOEJIT_CACHE_DIR=$place/cache
PKG_CONFIG_PATH=$(dirname "$(find "$place/prefix" -name moejit.pc)")
export PKG_CONFIG_PATH
LD_LIBRARY_PATH=$(pkg-config --variable=libdir moejit)
export LD_LIBRARY_PATH
# shellcheck disable=SC2046
"${CC:-cc}" -std=c11 -Wall -Wextra -Werror "$source/examples/prepare.c" $(pkg-config --cflags --libs moejit) -o "$place/by_pkgconfig"
"$place/by_pkgconfig" | tee "$place/output"
grep -q '^sm_90a: [0-9]* kernels, [0-9]* bytes of workspace$' "$place/output"

# shellcheck disable=SC2046
"${CC:-cc}" -std=c11 -Wall -Wextra -Werror "$source/examples/describe_checkpoint.c" $(pkg-config --cflags --libs moejit_checkpoint) -o "$place/describe"
checkpoint=$source/tests/data/checkpoints/qwen3_moe_modelopt
"$place/describe" "$checkpoint" | tee "$place/described"
grep -q '^layer 0: H 128, I 96, 8 experts, top 2; an expert in staging: 20736 bytes$' "$place/described"

mkdir "$place/project"
cp "$source/examples/prepare.c" "$source/examples/describe_checkpoint.c" "$place/project"
cat >"$place/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(example LANGUAGES C)
find_package(moejit 0.1 REQUIRED)
add_executable(shared prepare.c)
target_link_libraries(shared moejit::moejit)
add_executable(static prepare.c)
target_link_libraries(static moejit::moejit_static)
add_executable(describe_shared describe_checkpoint.c)
target_link_libraries(describe_shared moejit::moejit_checkpoint)
add_executable(describe_static describe_checkpoint.c)
target_link_libraries(describe_static moejit::moejit_checkpoint_static)
END
cmake -S "$place/project" -B "$place/project/build" -G Ninja -DCMAKE_PREFIX_PATH="$place/prefix" >/dev/null
cmake --build "$place/project/build" >/dev/null
"$place/project/build/shared" | diff - "$place/output"
"$place/project/build/static" | diff - "$place/output"

# The installed compiler's process is found: a compiler that aborts is an error, not the program's end.
status=0
MOEJIT_NVRTC_LIBRARY=$fake FAKE_NVRTC_ABORT=moejit MOEJIT_CACHE_DIR=$place/fresh "$place/project/build/shared" >"$place/output" 2>&1 || status=$?
[ "$status" = 1 ]
grep -q "the compiler's process was ended by signal 6" "$place/output"
for linked in shared static; do
    "$place/project/build/describe_$linked" "$checkpoint" | diff - "$place/described"
done
