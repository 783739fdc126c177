#!/usr/bin/env bash
# Every row of kernels.def, with features spread over four odd little layers, for every arch.
set -euo pipefail
small=(--experts 5 --top-k 3 --max-tokens 4096 --arch all --cache '')
"$1" prefill "${small[@]}" --hidden 320 --intermediate 176 --activation swiglu-oai --bias bf16 --row-order alternating
"$1" prefill "${small[@]}" --hidden 176 --intermediate 320 --activation-format nvfp4 --sum deterministic --output-dtype f16
"$1" prefill "${small[@]}" --hidden 208 --intermediate 240 --activation relu2 --bias f32 --output-dtype f32 --sum deterministic
"$1" prefill "${small[@]}" --hidden 256 --intermediate 192 --activation geglu --router-weight-on-input --split-alpha \
    --row-order interleaved-64 --output-dtype f16 --activation-format nvfp4 --input-format nvfp4 --per-expert-scale
