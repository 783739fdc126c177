#!/usr/bin/env bash
# Writes the golden tables of `moejit inspect cost` anew (tests/kernels/cost_ARCH.txt and their copies in docs/): after each
# change of kernels or tiles that is meant to change them. Look at what `git diff` says then.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/prepare.sh"
need_packages
need_cuda
need_nvdisasm
build "$root/build" -DMOEJIT_BUILD_TESTS=ON
exec python3 "$root/tests/kernels/cost.py" update --command "$root/build/bin/moejit" \
    --emulator "$root/build/emulator/libcuda.so.1" --cache "$root/build/cost.db"
