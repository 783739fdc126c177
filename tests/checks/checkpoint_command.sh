#!/usr/bin/env bash
# What the command says of checkpoints, and how it exits: inspect checkpoint, prefill, run, in good cases and in refused ones.
# $1 the command, $2 the emulator, $3 the folder of checkpoints
set -euo pipefail
moejit=$1 emulator=$2 checkpoints=$3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export MOEJIT_CACHE_DIR=$folder/cache
qwen=$checkpoints/qwen3_moe_modelopt
. "$(dirname "$0")/assertions.sh"


expect 0 '^Usage: moejit inspect checkpoint DIR' inspect checkpoint --help
expect 2 'needs one folder, met 0' inspect checkpoint
expect 2 "unrecognized option '--fly'" inspect checkpoint --fly
expect 2 '/config\.json: No such file' inspect checkpoint "$folder"
expect 2 '--layer is 7, which has no experts' inspect checkpoint "$qwen" --layer 7
expect 0 'Qwen3-MoE \(qwen3_moe\), modelopt NVFP4$' inspect checkpoint "$qwen"
expect 0 '^ +1 +8 +128 +96 +2 swiglu +one alpha +h: one +20736$' inspect checkpoint "$qwen"
expect 0 '^ +1 +8 .* alpha each +h: each expert' inspect checkpoint "$checkpoints/deepseek_v3_compressed_tensors"
expect 0 '"layer": 0, .*"router_weight_on_input": true, "split_alpha": false' inspect checkpoint "$checkpoints/llama4_modelopt" --json

# prefill: layers of one description are one.
expect 0 'mixtral_compressed_tensors sm_80: [0-9]+ kernels' prefill --checkpoint "$checkpoints/mixtral_compressed_tensors" --arch sm_80 --max-tokens 1
expect 0 'compiled, [0-9]+ found' prefill --checkpoint "$qwen" --arch sm_80 --max-tokens 1
[ "$(grep -c kernels, "$folder/output")" -eq 1 ] || bad=1
expect 2 '--checkpoint tells the layer' prefill --checkpoint "$qwen" --hidden 64
expect 2 '--layer is 7' prefill --checkpoint "$qwen" --layer 7
expect 0 'struct Config' inspect --checkpoint "$qwen" --arch sm_80 --max-tokens 1 --kernel moejit_down_portable_64x8x64

# run: random inputs, one rank's experts, the sizes alone.
export MOEJIT_CUDA_LIBRARY=$emulator
expect 0 '^ok .* T 5 ' run --checkpoint "$qwen" --layer 1 --tokens 5
expect 0 '^Qwen3-MoE layer 0, modelopt NVFP4, experts 3 to 4 of 8$' run --checkpoint "$qwen" --local-experts 3:2 --tokens 5
expect 0 '"good": true' run --checkpoint "$qwen" --local-experts 7:1 --input "$qwen/layer_0.safetensors" --json --tile 64x8x64
expect 2 'local experts are 7 to 8, but there are 0 to 7' run --checkpoint "$qwen" --local-experts 7:2
expect 2 'layer 9 has no experts' run --checkpoint "$qwen" --layer 9
expect 2 '--input needs --checkpoint' run --input x.npy
expect 2 '--input tells the tokens' run --checkpoint "$qwen" --input x.npy --tokens 3
expect 2 'x\.npy .*No such file' run --checkpoint "$qwen" --input "$folder/x.npy"
expect 2 'needs a \.safetensors with x_codes' run --checkpoint "$qwen" --input x.npy --activation-format nvfp4 --input-format nvfp4
expect 2 'none of them called x' run --checkpoint "$qwen" --input "$qwen/model.safetensors"
expect 0 'shrunk for the emulator|^ok  ' run --config "$qwen/config.json" --tokens 2
expect 2 '/none\.json: No such file' run --config "$folder/none.json"
expect 2 '--model and --config both tell' run --config "$qwen/config.json" --model deepseek-r1
python3 - "$folder/y.npy" <<'END'
import struct, sys
header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 128), }".ljust(117) + "\n"
values = [((i * 37) % 19 - 9) / 4 for i in range(256)]
open(sys.argv[1], "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack("<256f", *values))
END
expect 0 '^ok .* T 2 ' run --checkpoint "$qwen" --input "$folder/y.npy"
exit $bad
