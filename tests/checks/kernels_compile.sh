#!/usr/bin/env bash
# Every row of kernels.def, with features spread over four odd little layers, for every arch; and the emulator has every
# instruction of what came out.
#
#     kernels_compile.sh moejit [ptx_table]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
kernels=0

# layer NAME options...
layer() {
    local name="$1" options=(--experts 5 --top-k 3 --max-tokens 4096 --cache "$folder/cache.db" "${@:2}") arch symbol
    "$moejit" prefill "${options[@]}" --arch all
    [ -n "$table" ] || return 0
    for arch in sm_80 sm_86 sm_89 sm_90a sm_100a sm_103a sm_120a sm_121a; do
        for symbol in $("$moejit" inspect "${options[@]}" --arch "$arch" --json | sed 's/^{"symbol": "\([^"]*\)".*/\1/'); do
            "$moejit" inspect "${options[@]}" --arch "$arch" --kernel "$symbol" --what ptx >"$folder/$name-$arch-$symbol.ptx"
            kernels=$((kernels + 1))
        done
    done
}

moejit="$1" table="${2:-}"
layer oai --hidden 320 --intermediate 176 --activation swiglu-oai --bias bf16 --row-order alternating
layer nvfp4 --hidden 176 --intermediate 320 --activation-format nvfp4 --sum deterministic --output-dtype f16
layer relu2 --hidden 208 --intermediate 240 --activation relu2 --bias f32 --output-dtype f32 --sum deterministic
layer geglu --hidden 256 --intermediate 192 --activation geglu --router-weight-on-input --split-alpha \
    --row-order interleaved-64 --output-dtype f16 --activation-format nvfp4 --input-format nvfp4 --per-expert-scale
[ -n "$table" ] || exit 0
[ "$kernels" -gt 300 ] || { echo "only $kernels kernels were read" >&2; exit 1; }
"$table" "$folder"/*.ptx
