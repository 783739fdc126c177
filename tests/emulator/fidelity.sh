#!/usr/bin/env bash
# The instruction forms on a GPU and on the emulator, compared bit for bit. On a machine with a GPU (nothing is built):
#
#     tests/emulator/fidelity.sh record LIBCUDA FILE     runs them on LIBCUDA, writes FILE; then compares the emulator
#     tests/emulator/fidelity.sh compare FILE [NAME]     compares the emulator with FILE
#
# FILE of an H100: tests/emulator/forms/golden_sm_90a.txt. Needs build/bin/ptx_forms and build/emulator/libcuda.so.1.
# Exit status 1 where a form differs.
set -euo pipefail
cd "$(dirname "$0")/../.."
emulator=build/emulator/libcuda.so.1
forms() { build/bin/ptx_forms --library "$1" "${@:2}" tests/emulator/forms/{arithmetic,conversions,floats,warps,matrices,descriptors,copies,tensors}.txt; }
case "${1:-}" in
record)
    [ $# -eq 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
    forms "$2" >"$3"
    echo "$(grep -vc '^#' "$3") forms ran on $(head -1 "$3" | cut -c3-), $(grep -c ' refused ' "$3" || true) refused"
    forms "$emulator" --golden "$3"
    ;;
compare) forms "$emulator" --golden "$2" ${3:+--only "$3"} ;;
-h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0" ;;
*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
