#!/usr/bin/env python3
"""Makes tests/data/qwen3_moe_layer: one small Qwen3-MoE layer, quantised to NVFP4 by NVIDIA's modelopt.

It imports nothing of moejit. The output is what modelopt's own dequantised weights give, in float64.

    pip install 'nvidia-modelopt[hf]' torch numpy
    python3 tools/make_test_data.py tests/data/qwen3_moe_layer
"""

import json
import pathlib
import sys

import modelopt
import numpy as np
import torch
from modelopt.torch.quantization.qtensor import NVFP4QTensor

HIDDEN, INTERMEDIATE, EXPERTS, TOP_K, TOKENS, BLOCK = 128, 96, 8, 2, 24, 16


def quantise(weight):
    """Codes (two to a byte), e4m3 scale bytes, global scale, and the dequantised weight."""
    tensor, scale, global_scale = NVFP4QTensor.quantize(weight, BLOCK)
    dequantised = tensor.dequantize(dtype=torch.float32, scale=scale, double_scale=global_scale, block_sizes={-1: BLOCK})
    return (
        tensor._quantized_data.numpy(),
        scale.view(torch.uint8).numpy(),
        float(global_scale),
        dequantised.double(),
    )


def main(folder):
    torch.manual_seed(0)
    gate = torch.randn(EXPERTS, INTERMEDIATE, HIDDEN) * 0.09
    up = torch.randn(EXPERTS, INTERMEDIATE, HIDDEN) * 0.07
    down = torch.randn(EXPERTS, HIDDEN, INTERMEDIATE) * 0.1
    router = torch.randn(EXPERTS, HIDDEN) * 0.2
    x = torch.randn(TOKENS, HIDDEN).bfloat16()

    # Qwen3: softmax over all experts, the top_k largest, made to sum up to one.
    probabilities = torch.softmax(x.double() @ router.double().T, dim=-1)
    weights, ids = torch.topk(probabilities, TOP_K, dim=-1)
    weights = (weights / weights.sum(dim=-1, keepdim=True)).float()

    arrays = {name: [] for name in ("gate_up_weight", "gate_up_scale", "down_weight", "down_scale")}
    gate_up_alpha, down_alpha, dequantised = [], [], []
    for e in range(EXPERTS):
        # Checkpoints keep the global scales of gate and up apart.
        gate_codes, gate_scale, gate_alpha, gate_values = quantise(gate[e])
        up_codes, up_scale, up_alpha, up_values = quantise(up[e])
        down_codes, down_scale, alpha, down_values = quantise(down[e])
        arrays["gate_up_weight"].append(np.concatenate([gate_codes, up_codes]))
        arrays["gate_up_scale"].append(np.concatenate([gate_scale, up_scale]))
        arrays["down_weight"].append(down_codes)
        arrays["down_scale"].append(down_scale)
        gate_up_alpha.append([gate_alpha, up_alpha])
        down_alpha.append(alpha)
        dequantised.append((gate_values, up_values, down_values))

    expected = torch.zeros(TOKENS, HIDDEN, dtype=torch.float64)
    for t in range(TOKENS):
        for k in range(TOP_K):
            gate_values, up_values, down_values = dequantised[ids[t, k]]
            row = x[t].double()
            h = torch.nn.functional.silu(gate_values @ row) * (up_values @ row)
            h = h.bfloat16().double()  # bf16 activations: what the down projection multiplies
            expected[t] += weights[t, k].double() * (down_values @ h)

    out = {name: np.stack(list_).astype(np.uint8) for name, list_ in arrays.items()}
    out["gate_up_alpha"] = np.array(gate_up_alpha, dtype=np.float32)
    out["down_alpha"] = np.array(down_alpha, dtype=np.float32)
    out["x"] = x.view(torch.uint16).numpy()
    out["expert_ids"] = ids.to(torch.int32).numpy()
    out["router_weights"] = weights.numpy()
    out["expected"] = expected.float().numpy()
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in out.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array))
    versions = {"modelopt": modelopt.__version__, "torch": torch.__version__.split("+")[0], "numpy": np.__version__}
    (folder / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
