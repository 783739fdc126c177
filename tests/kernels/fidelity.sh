#!/usr/bin/env bash
# Numerics of the covering table on the emulator, and: every deterministic layer has the bits that an H100 gave.
# digests_sm_90a.txt was written on an H100 80GB (driver 580.159.04, CUDA 13.0) by `tools/gpu_check.sh numerics`.
#
#     fidelity.sh test_kernels FIRST STEP [hopper]
set -euo pipefail
golden="$(cd "$(dirname "$0")" && pwd)/digests_sm_90a.txt"
output=$("$@" digests) || {
    echo "$output"
    exit 1
}
tail -1 <<<"$output"
digests=$(grep '^case .* digest' <<<"$output")
if different=$(grep -vxFf "$golden" <<<"$digests"); then
    printf 'these layers have not the bits of an H100:\n%s\n' "$different"
    exit 1
fi
echo "$(wc -l <<<"$digests") layers have the bits of an H100"
