#!/usr/bin/env bash
# Every checkpoint of tests/data, with bf16 and NVFP4 activations: agrees with what its own tool computed, end to end within the
# bounds of docs/numerics.md, and with the reference.
# $1 the command, $2 the folder of checkpoints
set -euo pipefail
bad=0 count=0
for input in "$2"/*/layer_*.safetensors; do
    number=${input##*layer_}
    for format in bf16 nvfp4; do
        output=$("$1" run --checkpoint "${input%/*}" --layer "${number%.safetensors}" --input "$input" --sum deterministic \
            --output-dtype f32 --activation-format $format --input-format $format) || bad=1
        echo "$output"
        # The check against the tool's output really took place.
        grep -qE '^ok .* expected [0-9.e-]+$|^ok .* expected [0-9.e-]+, ' <<<"$output" || bad=1
        count=$((count + 1))
    done
done
echo "$count layers"
[ "$count" -eq 18 ] && [ $bad -eq 0 ]
