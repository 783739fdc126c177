#!/usr/bin/env python3
"""A foreign host: moejit as a guest of PyTorch, loaded with ctypes.

PyTorch owns the CUDA context, the memory and the streams; moejit attaches to the context that is current, is given
pointers, and launches on torch's stream, eagerly and inside torch.cuda.graphs. The result is compared with a reference
of torch's own: dequantised weights, f32 products. Python's SQLite is loaded before moejit's.

    python3 examples/torch_host.py --library build/libmoejit.so.0

Runs twice, with CUDA_MODULE_LOADING lazy and eager. Exit status 0 if all agrees, 1 if not.
"""

import argparse
import os
import sqlite3  # before moejit, which brings an SQLite too
import subprocess
import sys

import torch

import moejit_ctypes as moejit

E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]
ROW_BOUND = 3 * 5.1e-3  # of the atomic sum with top_k = 8 (docs/numerics.md)


def e4m3_values(device):
    """The value of each of the 128 positive e4m3 codes: 4 exponent bits with bias 7, 3 mantissa bits."""
    code = torch.arange(128, device=device)
    exponent, mantissa = code // 8, (code % 8).float()
    normal = (1 + mantissa / 8) * torch.pow(2.0, exponent.float() - 7)
    return torch.where(exponent == 0, mantissa / 8 * 2.0**-6, normal)


def random_nvfp4(rows, columns, experts, device, generator):
    """Codes [experts, rows, columns / 2], two to a byte, and e4m3 scales [experts, rows, columns / 16]."""
    kind = {"dtype": torch.uint8, "device": device, "generator": generator}
    codes = torch.randint(0, 256, (experts, rows, columns // 2), **kind)
    return codes, torch.randint(0x30, 0x40, (experts, rows, columns // 16), **kind)


def dequantise(codes, scales):
    """f32 [rows, columns] of one expert: element 2i is the low nibble of byte i; a scale serves 16 elements."""
    values = torch.tensor(E2M1, device=codes.device)
    elements = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(-2).long()
    scale = e4m3_values(codes.device)[scales.long()].repeat_interleave(16, dim=-1)
    return values[elements] * scale


class Problem:
    """The tensors of one layer, in torch."""

    def __init__(self, sizes, device, seed=0):
        generator = torch.Generator(device=device).manual_seed(seed)
        self.hidden, self.intermediate, self.experts, self.top_k, self.tokens = sizes
        self.gate_up, self.gate_up_scale = random_nvfp4(
            2 * self.intermediate, self.hidden, self.experts, device, generator
        )
        self.down, self.down_scale = random_nvfp4(self.hidden, self.intermediate, self.experts, device, generator)
        # Codes have a root mean square of 3.2: these keep gate, up and output near 1.
        self.gate_up_alpha = torch.full((self.experts,), (3.2 * self.hidden**0.5) ** -1, device=device)
        self.down_alpha = torch.full((self.experts,), (3.2 * self.intermediate**0.5) ** -1, device=device)
        self.x = torch.empty(self.tokens, self.hidden, dtype=torch.bfloat16, device=device)
        self.ids = torch.empty(self.tokens, self.top_k, dtype=torch.int32, device=device)
        self.router = torch.empty(self.tokens, self.top_k, device=device)
        self.draw(generator)

    def draw(self, generator):
        """New tokens and routing, in place: what a captured graph reads at its next replay."""
        device = self.x.device
        self.x.copy_(torch.randn(self.x.shape, device=device, generator=generator))
        logits = torch.randn(self.tokens, self.experts, device=device, generator=generator)
        weights, ids = torch.topk(torch.softmax(logits, dim=-1), self.top_k)
        self.ids.copy_(ids)
        self.router.copy_(weights / weights.sum(dim=-1, keepdim=True))

    def reference(self):
        """The layer in f32, h rounded to bf16 between the two products as moejit does."""
        y = torch.zeros(self.tokens, self.hidden, device=self.x.device)
        for expert in range(self.experts):
            token, slot = torch.where(self.ids == expert)
            if len(token) == 0:
                continue
            both = self.x[token].float() @ dequantise(self.gate_up[expert], self.gate_up_scale[expert]).T
            gate, up = (both * self.gate_up_alpha[expert]).chunk(2, dim=-1)
            h = (torch.nn.functional.silu(gate) * up).bfloat16().float()
            part = h @ dequantise(self.down[expert], self.down_scale[expert]).T * self.down_alpha[expert]
            y.index_add_(0, token, part * self.router[token, slot].unsqueeze(-1))
        return y


class Guest:
    """moejit's objects for that layer, in memory that torch allocated."""

    def __init__(self, library, problem, output_rows, cuda_library=None):
        self.problem = problem
        device = problem.x.device
        self.library = moejit.Moejit(library, moejit.ATTACH_CURRENT, cuda_library)  # the context torch has current
        layer = moejit.Layer(
            hidden=problem.hidden,
            intermediate=problem.intermediate,
            num_experts=problem.experts,
            num_local_experts=problem.experts,
            top_k=problem.top_k,
            activation=moejit.SWIGLU,
            output_dtype=moejit.BF16,
        )
        size = self.library.weights_bytes(layer)
        self.packed = torch.empty(size, dtype=torch.uint8, device=device)
        self.weights = self.library.weights(layer, self.packed.data_ptr(), size)
        checkpoint = moejit.Checkpoint(
            gate_up=problem.gate_up.data_ptr(),
            gate_up_scale=problem.gate_up_scale.data_ptr(),
            down=problem.down.data_ptr(),
            down_scale=problem.down_scale.data_ptr(),
        )
        self.library.pack(self.weights, checkpoint, 0, problem.experts, self.stream())
        self.plan = self.library.plan(layer, problem.tokens)  # compiles here, never in forward
        self.executor = self.library.executor()
        self.workspace = torch.empty(self.library.workspace_bytes(self.plan), dtype=torch.uint8, device=device)
        self.output = torch.full((output_rows, problem.hidden), float("nan"), dtype=torch.bfloat16, device=device)

    @staticmethod
    def stream():
        return torch.cuda.current_stream().cuda_stream

    def args(self, output_rows=None):
        problem = self.problem
        rows = self.output.shape[0] if output_rows is None else output_rows
        return moejit.ForwardArgs(
            num_tokens=problem.tokens,
            x=moejit.Tensor(problem.x.data_ptr(), moejit.BF16, problem.tokens, problem.hidden, 0),
            expert_ids=problem.ids.data_ptr(),
            router_weights=problem.router.data_ptr(),
            gate_up_alpha=problem.gate_up_alpha.data_ptr(),
            down_alpha=problem.down_alpha.data_ptr(),
            output=moejit.Tensor(self.output.data_ptr(), moejit.BF16, rows, problem.hidden, 0),
            workspace=self.workspace.data_ptr(),
            workspace_bytes=self.workspace.numel(),
            check_pointers=1,
        )

    def forward(self):
        self.library.forward(self.plan, self.weights, self.args(), self.executor, self.stream())

    def close(self):
        self.library.destroy(self.executor, self.plan, self.weights)
        self.library.close()


class Table:
    """One line a check."""

    def __init__(self):
        self.failed = self.passed = 0

    def line(self, good, what, detail=""):
        print(f"{'ok ' if good else 'BAD'}  {what:<58} {detail}", flush=True)
        self.passed, self.failed = self.passed + good, self.failed + (not good)

    def agrees(self, what, output, problem):
        """Every row, by its L2 distance from the reference's, as a fraction of the mean row."""
        got, want = output[: problem.tokens].float(), problem.reference()
        errors = (got - want).norm(dim=-1) / want.norm(dim=-1).square().mean().sqrt()
        worst = errors.nan_to_num(float("inf")).max().item()
        self.line(worst <= ROW_BOUND, what, f"worst of {problem.tokens} rows {worst:.2e}, needs {ROW_BOUND:.1e}")


def check_rows_after(table, guest):
    rest = guest.output[guest.problem.tokens :]
    table.line(bool(rest.isnan().all()), "rows past num_tokens are as they were", f"{len(rest)} rows")


def check_eager(table, guest):
    guest.forward()
    torch.cuda.synchronize()
    table.agrees("eager, torch's current stream", guest.output, guest.problem)
    check_rows_after(table, guest)
    side = torch.cuda.Stream()
    guest.output.fill_(float("nan"))
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        guest.forward()
    torch.cuda.current_stream().wait_stream(side)
    table.agrees("eager, a stream of torch's own", guest.output, guest.problem)


def check_graph(table, guest):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        guest.forward()
    generator = torch.Generator(device=guest.problem.x.device).manual_seed(1)
    for replay in range(3):
        guest.output.fill_(float("nan"))
        guest.problem.draw(generator)
        graph.replay()
        torch.cuda.synchronize()
        table.agrees(f"torch.cuda.graphs, replay {replay + 1} with new tokens", guest.output, guest.problem)
    check_rows_after(table, guest)


def check_refusal(table, guest):
    """A refused call says why, launches nothing, and leaves torch as it was."""
    try:
        guest.library.forward(guest.plan, guest.weights, guest.args(output_rows=3), guest.executor, guest.stream())
        table.line(False, "an output that is too short is refused")
    except moejit.MoejitError as error:
        table.line("output has rows = 3" in str(error), "an output that is too short is refused", f'"{error}"')
    table.line(torch.ones(3, device=guest.problem.x.device).sum().item() == 3, "torch goes on working")


def check_sqlite(table):
    """Python's own SQLite works beside the one of moejit's cache."""
    database = sqlite3.connect(":memory:")
    database.execute("create table t (a)")
    database.execute("insert into t values (42)")
    good = database.execute("select a from t").fetchone() == (42,)
    table.line(good, "Python's sqlite3 works before and after", f"SQLite {sqlite3.sqlite_version}")


def run(options):
    table = Table()
    check_sqlite(table)
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda", torch.cuda.current_device())
    problem = Problem(options.sizes, device)
    guest = Guest(options.library, problem, problem.tokens + 5, options.cuda_library)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name(device)}, {guest.library.arch()}, "
          f"CUDA_MODULE_LOADING={os.environ.get('CUDA_MODULE_LOADING', '')}")
    check_eager(table, guest)
    check_graph(table, guest)
    check_refusal(table, guest)
    check_sqlite(table)
    zeroed = guest.library.counters(guest.executor).bytes_zeroed
    rows = problem.tokens * problem.hidden * 2
    table.line(zeroed == 3 * rows, "only the live rows were zeroed", f"{zeroed} bytes in three calls")
    guest.close()
    print(f"{table.passed} passed, {table.failed} failed")
    return 1 if table.failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", default="build/libmoejit.so.0", help="libmoejit.so.0")
    parser.add_argument("--cuda-library", help="the driver that moejit opens (default libcuda.so.1)")
    parser.add_argument("--sizes", default="2048,768,32,8,37", help="hidden, intermediate, experts, top_k, tokens")
    parser.add_argument("--loading", choices=["lazy", "eager", "both"], default="both", help="CUDA_MODULE_LOADING")
    options = parser.parse_args()
    if options.loading == "both":
        arguments = [sys.executable, __file__, "--library", options.library, "--sizes", options.sizes]
        arguments += ["--cuda-library", options.cuda_library] if options.cuda_library else []
        return max(subprocess.run(arguments + ["--loading", mode]).returncode for mode in ("lazy", "eager"))
    if os.environ.get("CUDA_MODULE_LOADING") != options.loading.upper():  # read when the driver starts: begin again
        os.environ["CUDA_MODULE_LOADING"] = options.loading.upper()
        os.execv(sys.executable, [sys.executable] + sys.argv)
    options.sizes = [int(size) for size in options.sizes.split(",")]
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
