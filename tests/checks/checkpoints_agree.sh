#!/usr/bin/env bash
# Checkpoints of tests/data, with bf16 and NVFP4 activations: agree with what their own tool computed, end to end within the
# bounds of docs/numerics.md, and with the reference.
# $1 the command, $2 the folder of checkpoints, $3 which of them (a pattern; all if none), $4 how many runs that makes
set -euo pipefail
bad=0 count=0
for input in "$2"/${3:-*}/layer_*.safetensors; do
    number=${input##*layer_}
    for format in bf16 nvfp4; do
        output=$("$1" run --checkpoint "${input%/*}" --layer "${number%.safetensors}" --input "$input" --sum deterministic \
            --output-dtype f32 --activation-format $format --input-format $format) || bad=1
        echo "$output"
        # The check against the tool's output really took place.
        grep -qE '^ok .* expected [0-9.e-]+(, .*)?$' <<<"$output" || bad=1
        count=$((count + 1))
    done
done
echo "$count runs"
[ "$count" -eq "${4:-18}" ] && [ $bad -eq 0 ]
