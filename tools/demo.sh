#!/usr/bin/env bash
# The main job: an NVFP4 MoE layer, generated, compiled, cached, run and checked against the reference. On the GPU if there
# is one, else on the CPU emulator; it says which.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/prepare.sh"
need_packages
need_cuda
echo "building"
build "$root/build" -DMOEJIT_BUILD_TESTS=OFF
if [ -z "${MOEJIT_CUDA_LIBRARY:-}" ] && ! ls /dev/nvidia[0-9]* >/dev/null 2>&1; then
    emulator="$root/build/emulator/libcuda.so.1"
    if [ ! -e "$emulator" ]; then
        echo "there is no GPU here and no emulator was built: compiling only"
        exec "$root/build/bin/moejit" prefill --model qwen3-30b-a3b --arch sm_90a
    fi
    echo "there is no GPU here: running on the CPU emulator of the CUDA driver"
    export MOEJIT_CUDA_LIBRARY="$emulator" MOEJIT_PTX_ONLY=1
else
    echo "running on the GPU"
fi
"$root/build/bin/moejit" run --model qwen3-30b-a3b --tokens 16
"$root/build/bin/moejit" run --model gpt-oss-120b --tokens 5 --sum deterministic --output-dtype f32
echo "layers of checkpoints that NVIDIA's modelopt and compressed-tensors wrote, beside what their own dequantised weights give:"
for checkpoint in qwen3_moe_modelopt mixtral_compressed_tensors; do
    folder="$root/tests/data/checkpoints/$checkpoint"
    "$root/build/bin/moejit" run --checkpoint "$folder" --layer 0 --input "$folder/layer_0.safetensors" --sum deterministic --output-dtype f32
done
