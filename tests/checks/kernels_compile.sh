#!/usr/bin/env bash
# Every row of kernels.def, for every arch, with features spread over four odd little layers: all compile and spill nothing, and the
# emulator has every instruction of what comes out.
#
#     kernels_compile.sh moejit [ptx_table] [all]
#
# Archs of a group get the same PTX: sm_80, 86 and 89; sm_90a; sm_100a, 103a, 120a and 121a, where the last two take the fp4 family for
# NVFP4 activations. Each layer is compiled for one arch of each group and family, each arch has each of its families; with "all"
# each layer for every arch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
kernels=0 seen=()

# layer NAME ARCHS options...
layer() {
    local name="$1" options=(--experts 5 --top-k 3 --max-tokens 4096 --cache "$folder/cache.db" "${@:3}") archs=${2//,/ } arch symbol
    [ -z "$all" ] || archs="sm_80 sm_86 sm_89 sm_90a sm_100a sm_103a sm_120a sm_121a"
    "$moejit" prefill "${options[@]}" --arch "${archs// /,}"
    for arch in $archs; do
        seen+=("$arch")
        [ -n "$table" ] || continue
        for symbol in $("$moejit" inspect "${options[@]}" --arch "$arch" --json | sed 's/^{"symbol": "\([^"]*\)".*/\1/'); do
            "$moejit" inspect "${options[@]}" --arch "$arch" --kernel "$symbol" --what ptx >"$folder/$name-$arch-$symbol.ptx"
            kernels=$((kernels + 1))
        done
    done
}

moejit="$1" table="${2:-}" all="${3:-}"
layer oai sm_80,sm_90a,sm_120a --hidden 320 --intermediate 176 --activation swiglu-oai --bias bf16 --row-order alternating
layer nvfp4 sm_86,sm_90a,sm_103a,sm_120a --hidden 176 --intermediate 320 --activation-format nvfp4 --sum deterministic --output-dtype f16
layer relu2 sm_89,sm_90a,sm_121a --hidden 208 --intermediate 240 --activation relu2 --bias f32 --output-dtype f32 --sum deterministic
layer geglu sm_80,sm_90a,sm_100a,sm_121a --hidden 256 --intermediate 192 --activation geglu --router-weight-on-input --split-alpha \
    --row-order interleaved-64 --output-dtype f16 --activation-format nvfp4 --input-format nvfp4 --per-expert-scale
archs=$(printf '%s\n' "${seen[@]}" | sort -u | wc -l)
[ "$archs" -eq 8 ] || { echo "only $archs of 8 archs were compiled for"; exit 1; }
[ -n "$table" ] || exit 0
[ "$kernels" -gt 180 ] || { echo "only $kernels kernels were read" >&2; exit 1; }
"$table" "$folder"/*.ptx
