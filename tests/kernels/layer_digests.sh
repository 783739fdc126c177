#!/usr/bin/env bash
# Whole layers with the features and odd sizes of the eight models, small enough for the emulator: each is checked against
# the reference, and an ordered sum must give the committed bits (layer_digests_sm_90a.txt, which the emulator wrote), on
# the emulator and on an H100, in either family. No tile is shared by CTAs there; with --shared all are, in the Hopper
# family alone (shared_digests_sm_90a.txt).
#
#     layer_digests.sh MOEJIT FAMILY SUM [--shared] [--record]      --record prints the lines instead
set -uo pipefail
moejit=$1
family=$2
sum=$3
shift 3
golden="$(cd "$(dirname "$0")" && pwd)/layer_digests_sm_90a.txt"
tokens=17
tile_ctas=1
if [ "${1:-}" = --shared ]; then
    shift
    golden="${golden%layer_*}shared_digests_sm_90a.txt"
    tokens=2
    tile_ctas=4
fi
record=${1:-}
num=0
bad=0

# layer MODEL HIDDEN INTERMEDIATE EXPERTS TOP_K
layer() {
    local format line said
    for format in bf16 nvfp4; do
        said=$("$moejit" run --model "$1" --hidden "$2" --intermediate "$3" --experts "$4" --top-k "$5" --tokens $tokens \
            --activation-format $format --sum "$sum" --family "$family" --max-tile-ctas $tile_ctas --repeat 0 --seed 7 --json 2>&1)
        line="$1 $format $(sed -n 's/.*"good": true.*"output_digest": "\([0-9a-f]*\)".*/\1/p' <<<"$said")"
        num=$((num + 1))
        if [ "$record" = --record ]; then
            echo "$line"
        elif ! grep -qxF "$line" "$golden"; then
            printf '%s\nthe committed line is %s\n%s\n' "$line" "$(grep "^$1 $format " "$golden")" "$said"
            bad=$((bad + 1))
        fi
    done
}

if [ $tile_ctas = 4 ]; then # seven stages in four CTAs, five in three, four and three in two
    layer deepseek-r1 1552 128 8 4
    layer qwen3-30b-a3b 1040 96 8 8
    layer gpt-oss-120b 784 1040 6 4
    layer llama4-scout 128 1552 4 1
    layer nemotron3-nano 528 784 6 3
    [ "$record" = --record ] || echo "$((num - bad)) of $num layers have the committed bits ($family family, $sum sum, shared tiles)"
    [ "$bad" -eq 0 ]
    exit
fi
layer deepseek-r1 256 128 16 8
layer kimi-k2 256 128 12 8
layer qwen3-235b-a22b 256 96 16 8
layer qwen3-30b-a3b 128 128 16 8
layer gpt-oss-120b 192 192 16 4
layer llama4-scout 256 128 16 1
layer nemotron3-nano 256 192 16 6
layer mixtral-8x7b 256 112 8 2
[ "$record" = --record ] || echo "$((num - bad)) of $num layers have the committed bits ($family family, $sum sum)"
[ "$bad" -eq 0 ]
