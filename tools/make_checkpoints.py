#!/usr/bin/env python3
"""Makes tests/data/checkpoints: small NVFP4 checkpoints that NVIDIA's modelopt and compressed-tensors wrote.

Each is a randomly initialised model of transformers, quantised and saved by one of the two tools. Beside each,
layer_N.safetensors holds an input of MoE layer N, the routing that transformers' own router chose, and the layer's output
as computed from the weights that the tool itself dequantises; and the same for NVFP4 activations, from the tool's own codes
of x and with its rounding of h. Nothing of moejit is imported or run.

    tools/make_checkpoints.py tests/data/checkpoints

Run by any Python 3.10+, it makes a virtual environment with what it needs (torch: a large download) in a temporary
folder and runs itself there; --here uses the Python at hand.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

REQUIREMENTS = ["nvidia-modelopt[hf]==0.47.0", "compressed-tensors==0.20.0", "transformers==5.14.1", "torch", "safetensors", "numpy"]
HIDDEN, INTERMEDIATE, TOKENS = 128, 96, 32
LAYERS = {("qwen3_moe", "compressed_tensors"): 1}  # the others have what their family needs
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def run_in_environment(arguments):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = pathlib.Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        subprocess.run([python, __file__, "--here", *arguments], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


# ---- Models


def make_configs():
    from transformers import DeepseekV3Config, Llama4TextConfig, MixtralConfig, NemotronHConfig, Qwen3MoeConfig

    common = dict(
        hidden_size=HIDDEN,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=64,
        max_position_embeddings=64,
        initializer_range=0.08,
    )
    experts = dict(num_experts_per_tok=2, intermediate_size=INTERMEDIATE)
    return {
        "qwen3_moe": Qwen3MoeConfig(
            **common, **experts, num_hidden_layers=2, head_dim=16, moe_intermediate_size=INTERMEDIATE, num_experts=8, norm_topk_prob=True
        ),
        "mixtral": MixtralConfig(**common, **experts, num_hidden_layers=1, num_local_experts=8),
        "deepseek_v3": DeepseekV3Config(
            **common,
            **experts,
            num_hidden_layers=2,
            moe_intermediate_size=INTERMEDIATE,
            n_routed_experts=8,
            n_shared_experts=1,
            first_k_dense_replace=1,
            n_group=2,
            topk_group=1,
            q_lora_rank=16,
            kv_lora_rank=16,
            qk_nope_head_dim=16,
            qk_rope_head_dim=16,
            v_head_dim=16,
        ),
        "llama4": Llama4TextConfig(
            **common,
            num_hidden_layers=1,
            head_dim=16,
            intermediate_size=INTERMEDIATE,
            intermediate_size_mlp=INTERMEDIATE,
            num_local_experts=8,
            num_experts_per_tok=1,
            interleave_moe_layer_step=1,
        ),
        "nemotron_h": NemotronHConfig(
            **{**common, "max_position_embeddings": 4096},
            **experts,
            num_hidden_layers=2,
            hybrid_override_pattern="*E",
            head_dim=16,
            n_routed_experts=8,
            moe_intermediate_size=INTERMEDIATE,
            moe_shared_expert_intermediate_size=32,
            mamba_num_heads=2,
            mamba_head_dim=16,
            n_groups=1,
            ssm_state_size=16,
        ),
    }


def make_model(config, folder):
    """A model as users have it: saved and loaded again, in bf16."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, experts_implementation="eager").eval()


def find_blocks(model):
    """The blocks that hold router and experts, by layer."""
    blocks = {}
    for name, module in model.named_modules():
        if hasattr(module, "experts"):
            blocks[int(name.split("layers.")[1].split(".")[0])] = module
    return blocks


def calibrate(model):
    import torch

    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        model(torch.randint(0, 64, (2, 32), generator=generator))


# ---- What a layer computes


def capture_routing(block, x):
    """What the block's experts are given: ids and weights, [T, K]. Llama 4's get all experts' inputs, scaled."""
    import torch

    caught = {}

    def hook(_, arguments):
        caught["arguments"] = arguments

    handle = block.experts.register_forward_pre_hook(hook)
    block(x[None])
    handle.remove()
    arguments = caught["arguments"]
    if len(arguments) == 3:
        _, ids, weights = arguments
        return ids.int(), weights.float()
    scores = block.router(x)[0]  # [T, E], sigmoid of the chosen, 0 elsewhere
    weights, ids = torch.topk(scores, block.top_k, dim=-1)
    return ids.int(), weights.float()


def compute_layer(x, ids, weights, experts, weight_on_input, round_h):
    """In float64. experts: (gate or None, up, down) each; round_h: what the down projection multiplies, from h."""
    import torch

    out = torch.zeros(x.shape, dtype=torch.float64)
    for t in range(x.shape[0]):
        for k in range(ids.shape[1]):
            e = int(ids[t, k])
            gate, up, down = experts[e]
            weight = weights[t, k].double()
            row = x[t].double() * (weight if weight_on_input else 1)
            h = torch.relu(up @ row) ** 2 if gate is None else torch.nn.functional.silu(gate @ row) * (up @ row)
            out[t] += (down @ round_h(h, e)) * (1 if weight_on_input else weight)
    return out


def check_with_transformers(fused, x, ids, weights, experts, weight_on_input):
    """Our loop beside transformers' own experts, given the same dequantised weights; neither rounds h."""
    import torch

    fused = fused.double()
    first = "gate_up_proj" if hasattr(fused, "gate_up_proj") else "up_proj"
    gate_up = torch.stack([up if gate is None else torch.cat([gate, up]) for gate, up, _ in experts])
    down = torch.stack([matrix for _, _, matrix in experts])
    if weight_on_input:  # Llama 4: matrices are [in, out], and each expert gets all tokens, scaled
        getattr(fused, first).data = gate_up.transpose(1, 2).contiguous()
        fused.down_proj.data = down.transpose(1, 2).contiguous()
        scaled = torch.zeros(len(experts), *x.shape, dtype=torch.float64)
        for t, row in enumerate(x.double()):
            for e, weight in zip(ids[t].tolist(), weights[t].double()):
                scaled[e, t] = row * weight
        theirs = fused(scaled.reshape(-1, x.shape[1])).reshape(scaled.shape).sum(0)
    else:
        getattr(fused, first).data = gate_up
        fused.down_proj.data = down
        theirs = fused(x.double(), ids.long(), weights.double())
    ours = compute_layer(x, ids, weights, experts, weight_on_input, lambda h, _: h)
    error = ((ours - theirs).norm() / theirs.norm()).item()
    if not error < 1e-6:
        sys.exit(f"transformers' experts differ from the formula by {error}")


# ---- The two tools: each quantises the model, saves it, and dequantises what it saved


def read_tensors(folder):
    from safetensors.torch import load_file

    tensors = {}
    for file in sorted(folder.glob("model*.safetensors")):
        tensors.update(load_file(file))
    return tensors


def save_with_modelopt(model, folder):
    import modelopt.torch.quantization as mtq
    from modelopt.torch.export import export_hf_checkpoint

    export_hf_checkpoint(mtq.quantize(model, mtq.NVFP4_DEFAULT_CFG, calibrate), export_dir=folder)


def dequantise_modelopt(tensors, name, expert):
    import torch
    from modelopt.torch.quantization.qtensor import NVFP4QTensor

    if name in tensors:  # all experts in one tensor, transposed
        codes, scale = (tensors[name + suffix][expert].T.contiguous() for suffix in ("", "_weight_scale"))
        scale_2 = tensors[name + "_weight_scale_2"]
    else:
        codes, scale, scale_2 = (tensors[name + suffix] for suffix in (".weight", ".weight_scale", ".weight_scale_2"))
    tensor = NVFP4QTensor(torch.Size([codes.shape[0], codes.shape[1] * 2]), torch.float32, codes)
    return tensor.dequantize(dtype=torch.float32, scale=scale, double_scale=scale_2, block_sizes={-1: 16}).double()


def round_modelopt(values, scale):
    """To NVFP4, as modelopt does with activations; scale: its input_scale. Codes, block scales, and back in float64."""
    import torch
    from modelopt.torch.quantization.qtensor import NVFP4QTensor

    rows = values.float().reshape(-1, values.shape[-1])
    tensor, block_scale, scale_2 = NVFP4QTensor.quantize(rows, 16, weights_scaling_factor_2=scale)
    back = tensor.dequantize(dtype=torch.float32, scale=block_scale, double_scale=scale_2, block_sizes={-1: 16})
    return tensor._quantized_data, block_scale, back.reshape(values.shape).double()


def unfuse(model):
    """Experts as one Linear a matrix, which is what compressed-tensors quantises (llm-compressor does the same)."""
    import torch

    def linear(weight):
        made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
        made.weight.data = weight.detach().clone()
        return made

    for block in find_blocks(model).values():
        fused, experts = block.experts, torch.nn.ModuleList()
        for e in range(fused.down_proj.shape[0]):
            expert = torch.nn.Module()
            for name, weight in zip(PROJECTIONS, (*fused.gate_up_proj[e].chunk(2, dim=0), fused.down_proj[e])):
                setattr(expert, name, linear(weight))
            experts.append(expert)
        block.experts = experts


def save_with_compressed_tensors(model, folder, inputs):
    """Minima and maxima as a calibration sees them, then compressed; gate and up keep a global scale each."""
    import torch
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config, preset_name_to_scheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    unfuse(model)
    scheme = preset_name_to_scheme("NVFP4", ["re:.*[.]experts[.].*"])
    apply_quantization_config(model, QuantizationConfig(config_groups={"group_0": scheme}, format="nvfp4-pack-quantized"))
    for layer, block in find_blocks(model).items():
        x = inputs[layer].float()
        for expert in block.experts:
            gate, up, down = (getattr(expert, name) for name in PROJECTIONS)
            h = torch.nn.functional.silu(x @ gate.weight.float().T) * (x @ up.weight.float().T)
            for module, seen in ((gate, x), (up, x), (down, h)):
                weight = module.weight.data.float()
                blocks = weight.reshape(weight.shape[0], -1, 16)
                arguments = module.quantization_scheme.weights
                module.weight_global_scale.data = generate_gparam(weight.min(), weight.max())
                scale, _ = calculate_qparams(blocks.amin(-1), blocks.amax(-1), arguments, global_scale=module.weight_global_scale)
                module.weight_scale.data = scale.to(module.weight_scale.dtype)
                module.input_global_scale.data = generate_gparam(seen.min(), seen.max())
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(folder, max_shard_size="120KB")
    compressor.update_config(folder)


def dequantise_compressed_tensors(tensors, name, _):
    import torch
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import preset_name_to_scheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    packed, scale, global_scale = (tensors[f"{name}.{key}"] for key in ("weight_packed", "weight_scale", "weight_global_scale"))
    codes = unpack_fp4_from_uint8(packed, packed.shape[0], packed.shape[1] * 2, dtype=torch.float32)
    arguments = preset_name_to_scheme("NVFP4", ["Linear"]).weights
    return dequantize(codes, scale.float(), args=arguments, dtype=torch.float32, global_scale=global_scale).double()


def round_compressed_tensors(values, scale):
    """To NVFP4, as compressed-tensors does with activations; scale: its input_global_scale. As round_modelopt."""
    import torch
    from compressed_tensors.compressors.nvfp4.helpers import pack_fp4_to_uint8
    from compressed_tensors.quantization import preset_name_to_scheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    rows = values.float().reshape(-1, values.shape[-1])
    blocks = rows.reshape(rows.shape[0], -1, 16)
    arguments = preset_name_to_scheme("NVFP4", ["Linear"]).input_activations
    block_scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), arguments, global_scale=scale)
    block_scale = block_scale.float()
    codes = quantize(rows, block_scale, zero, arguments, global_scale=scale)
    back = dequantize(codes, block_scale, args=arguments, dtype=torch.float32, global_scale=scale)
    return pack_fp4_to_uint8(codes), block_scale.to(torch.float8_e4m3fn), back.reshape(values.shape).double()


# ---- One checkpoint


def names_of(tensors, family, layer):
    """The experts' names in the files: a function of expert and projection."""
    prefix = {"mixtral": "model.layers.{}.block_sparse_moe", "llama4": "model.layers.{}.feed_forward", "nemotron_h": "backbone.layers.{}.mixer"}
    path = prefix.get(family, "model.layers.{}.mlp").format(layer) + ".experts"
    short = any(name.startswith(f"{path}.0.w1.") for name in tensors)  # Mixtral's, where the tool keeps them
    files = ("w1", "w3", "w2") if short else PROJECTIONS
    return lambda e, projection: f"{path}.{e}.{files[PROJECTIONS.index(projection)]}"


def read_experts(tensors, family, layer, num_experts, dequantise):
    names, experts = names_of(tensors, family, layer), []
    for e in range(num_experts):
        if family == "llama4":
            path = f"model.layers.{layer}.feed_forward.experts"
            gate, up = dequantise(tensors, f"{path}.gate_up_proj", e).chunk(2, dim=0)
            experts.append((gate, up, dequantise(tensors, f"{path}.down_proj", e)))
        else:
            gate = None if family == "nemotron_h" else dequantise(tensors, names(e, "gate_proj"), e)
            experts.append((gate, dequantise(tensors, names(e, "up_proj"), e), dequantise(tensors, names(e, "down_proj"), e)))
    return experts


def read_input_scales(tensors, family, layer, num_experts, suffix, worst):
    """One for x (of the range of all experts, as engines take it) and one an expert for h."""
    import torch

    if family == "llama4":
        path = f"model.layers.{layer}.feed_forward.experts"
        return tensors[f"{path}.gate_up_proj_input_scale"], [tensors[f"{path}.down_proj_input_scale"]] * num_experts
    names = names_of(tensors, family, layer)
    first = ("up_proj",) if family == "nemotron_h" else ("gate_proj", "up_proj")
    of_x = torch.stack([tensors[f"{names(e, p)}.{suffix}"] for e in range(num_experts) for p in first])
    return worst(of_x), [tensors[f"{names(e, 'down_proj')}.{suffix}"] for e in range(num_experts)]


def make_checkpoint(family, config, tool, folder):
    import copy

    import torch
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as base:
        model = make_model(config, base)
    torch.manual_seed(2)
    layers, on_input = {}, family == "llama4"
    for layer, block in find_blocks(model).items():
        x = torch.randn(TOKENS, HIDDEN).bfloat16()
        layers[layer] = (x, *capture_routing(block, x), copy.deepcopy(block.experts))
    if tool == "modelopt":
        save_with_modelopt(model, folder)
        dequantise, round_to_nvfp4, suffix, worst = dequantise_modelopt, round_modelopt, "input_scale", torch.max
    else:
        save_with_compressed_tensors(model, folder, {layer: x for layer, (x, *_) in layers.items()})
        dequantise, round_to_nvfp4, suffix, worst = dequantise_compressed_tensors, round_compressed_tensors, "input_global_scale", torch.min
    (folder / "generation_config.json").unlink(missing_ok=True)
    tensors = read_tensors(folder)
    for layer, (x, ids, weights, fused) in layers.items():
        num = fused.down_proj.shape[0]
        experts = read_experts(tensors, family, layer, num, dequantise)
        check_with_transformers(fused, x, ids, weights, experts, on_input)
        of_x, of_h = read_input_scales(tensors, family, layer, num, suffix, worst)
        bf16 = compute_layer(x, ids, weights, experts, on_input, lambda h, _: h.bfloat16().double())
        codes, scales, rounded = round_to_nvfp4(x, of_x)
        nvfp4 = compute_layer(rounded, ids, weights, experts, on_input, lambda h, e: round_to_nvfp4(h, of_h[e])[2])
        layer_file = {"x": x, "expert_ids": ids, "router_weights": weights, "expected": bf16.float()}
        layer_file.update(x_codes=codes, x_scale=scales, expected_nvfp4=nvfp4.float())
        save_file({name: tensor.contiguous() for name, tensor in layer_file.items()}, folder / f"layer_{layer}.safetensors")
        print(f"{folder.name} layer {layer}: output rms {bf16.square().mean().sqrt():.3g}, NVFP4 activations differ by "
              f"{((nvfp4 - bf16).norm() / bf16.norm()):.3g}")


def write_versions(root):
    from importlib.metadata import version

    names = ("nvidia-modelopt", "compressed-tensors", "transformers", "torch", "safetensors")
    (root / "versions.json").write_text(json.dumps({name: version(name) for name in names}, indent=1) + "\n")


def main(arguments):
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    root = pathlib.Path(arguments.folder)
    for family, config in make_configs().items():
        for tool in ("modelopt", "compressed_tensors"):
            if tool == "compressed_tensors" and family in ("llama4", "nemotron_h"):
                continue  # it leaves Llama 4's fused experts alone; gated experts suffice
            folder = root / f"{family}_{tool}"
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.iterdir():
                file.unlink()
            config.num_hidden_layers = LAYERS.get((family, tool), config.num_hidden_layers)
            make_checkpoint(family, config, tool, folder)
    write_versions(root)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="where the checkpoints go, a folder each")
    parser.add_argument("--here", action="store_true", help="use this Python's packages")
    parsed = parser.parse_args()
    main(parsed) if parsed.here else run_in_environment([parsed.folder])
