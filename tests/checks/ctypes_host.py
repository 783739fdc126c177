#!/usr/bin/env python3
"""examples/moejit_ctypes.py is true: its structs have the header's layout, and a layer run through it on the emulator has
the numbers of a plain Python reference. What examples/torch_host.py does on a GPU, with the driver's own memory in place
of torch's.

    ctypes_host.py SOURCE_FOLDER LIBRARY EMULATOR
"""

import array
import ctypes
import math
import random
import sqlite3  # before moejit, as in a host that has its own
import struct
import subprocess
import sys
import tempfile

source, library, emulator = sys.argv[1:4]
sys.path.insert(0, source + "/examples")
import moejit_ctypes as moejit  # noqa: E402

HEADER_NAMES = {
    moejit.Layer: "moejit_layer",
    moejit.ContextOptions: "moejit_context_options",
    moejit.Checkpoint: "moejit_checkpoint",
    moejit.PlanOptions: "moejit_plan_options",
    moejit.ExecutorOptions: "moejit_executor_options",
    moejit.ExecutorCounters: "moejit_executor_counters",
    moejit.Tensor: "moejit_tensor",
    moejit.ForwardArgs: "moejit_forward_args",
}
CONSTANTS = {
    "MOEJIT_ATTACH_PRIMARY": moejit.ATTACH_PRIMARY,
    "MOEJIT_ACTIVATION_SWIGLU": moejit.SWIGLU,
    "MOEJIT_DTYPE_BF16": moejit.BF16,
    "MOEJIT_DTYPE_F16": moejit.F16,
    "MOEJIT_DTYPE_F32": moejit.F32,
    "MOEJIT_DTYPE_NVFP4": moejit.NVFP4,
    "MOEJIT_SUM_ATOMIC": moejit.ATOMIC,
    "MOEJIT_SUM_DETERMINISTIC": moejit.DETERMINISTIC,
    "MOEJIT_SUM_BATCH_INVARIANT": moejit.BATCH_INVARIANT,
    "MOEJIT_OUTPUT_ACCUMULATE": moejit.ACCUMULATE,
    "MOEJIT_OUTPUT_ASSUME_ZERO": moejit.ASSUME_ZERO,
}
HIDDEN, INTERMEDIATE, EXPERTS, TOP_K, TOKENS = 48, 32, 4, 2, 5
E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


def check_layouts():
    """The header may have more fields at a struct's end; those that are here must be where they are there."""
    lines = ["#include <stddef.h>", "#include <moejit/moejit.h>"]
    for ours, name in HEADER_NAMES.items():
        for field, kind in ours._fields_:
            place = getattr(ours, field)
            lines.append(f'_Static_assert(offsetof({name}, {field}) == {place.offset}, "{name}.{field} is elsewhere");')
            size = f"sizeof((({name} *)0)->{field})"
            lines.append(f'_Static_assert({size} == {ctypes.sizeof(kind)}, "{name}.{field} has another size");')
    lines += [f'_Static_assert({name} == {value}, "{name}");' for name, value in CONSTANTS.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".c") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        subprocess.run(["cc", "-std=c11", "-fsyntax-only", "-I", source + "/include", file.name], check=True)
    print(f"{len(lines) - 2} places and constants as in moejit.h")


class Driver:
    """Device memory and a context, as any host has them."""

    def __init__(self, path):
        self.cuda, self.context, device = ctypes.CDLL(path), ctypes.c_void_p(), ctypes.c_int()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), device)
        self.call("cuCtxSetCurrent", self.context)

    def call(self, name, *arguments):
        result = getattr(self.cuda, name)(*arguments)
        assert result == 0, f"{name}: {result}"

    def upload(self, data):
        memory, data = ctypes.c_uint64(), bytes(data)
        self.call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(max(len(data), 256)))
        self.call("cuMemcpyHtoD_v2", memory, data, ctypes.c_size_t(len(data)))
        self.call("cuCtxSynchronize")
        return memory.value

    def download(self, address, size):
        data = ctypes.create_string_buffer(size)
        self.call("cuMemcpyDtoH_v2", data, ctypes.c_uint64(address), ctypes.c_size_t(size))
        return data.raw


def bf16_bits(value):
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def bf16(value):
    return struct.unpack("<f", struct.pack("<I", bf16_bits(value) << 16))[0]


def dequantise(codes, scales, expert, rows, columns):
    matrix = []
    for row in range(expert * rows, (expert + 1) * rows):
        line = []
        for column in range(columns):
            code = codes[(row * columns + column) // 2] >> 4 * (column % 2) & 15
            scale = scales[row * columns // 16 + column // 16]  # 0x30 to 0x3f: 0.5 to 1.875
            line.append(E2M1[code] * (1 + scale % 8 / 8) * 2.0 ** (scale // 8 - 7))
        matrix.append(line)
    return matrix


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


def reference(x, ids, router, tensors, alphas):
    gate_up, gate_up_scale, down, down_scale = tensors
    y = [[0.0] * HIDDEN for _ in range(TOKENS)]
    for pair in range(TOKENS * TOP_K):
        token, expert = pair // TOP_K, ids[pair]
        row = x[token * HIDDEN : (token + 1) * HIDDEN]
        both = [alphas[0] * dot(w, row) for w in dequantise(gate_up, gate_up_scale, expert, 2 * INTERMEDIATE, HIDDEN)]
        gate, up = both[:INTERMEDIATE], both[INTERMEDIATE:]
        h = [bf16(g / (1 + math.exp(-g)) * u) for g, u in zip(gate, up)]
        for column, w in enumerate(dequantise(down, down_scale, expert, HIDDEN, INTERMEDIATE)):
            y[token][column] += router[pair] * alphas[1] * dot(w, h)
    return y


def check_layer():
    rng = random.Random(0)
    driver = Driver(emulator)
    guest = moejit.Moejit(library, moejit.ATTACH_CURRENT, emulator, cache_path="")
    gate_up, down = EXPERTS * 2 * INTERMEDIATE * HIDDEN, EXPERTS * HIDDEN * INTERMEDIATE
    tensors = [rng.randbytes(gate_up // 2), bytes(rng.randrange(0x30, 0x40) for _ in range(gate_up // 16))]
    tensors += [rng.randbytes(down // 2), bytes(rng.randrange(0x30, 0x40) for _ in range(down // 16))]
    x = [bf16(rng.gauss(0, 1)) for _ in range(TOKENS * HIDDEN)]
    ids = [expert for _ in range(TOKENS) for expert in rng.sample(range(EXPERTS), TOP_K)]
    router = list(array.array("f", (rng.random() for _ in ids)))
    alphas = list(array.array("f", [(3.2 * HIDDEN**0.5) ** -1, (3.2 * INTERMEDIATE**0.5) ** -1]))
    layer = moejit.Layer(hidden=HIDDEN, intermediate=INTERMEDIATE, num_experts=EXPERTS, num_local_experts=EXPERTS,
                         top_k=TOP_K, activation=moejit.SWIGLU, output_dtype=moejit.F32)
    size = guest.weights_bytes(layer)
    weights = guest.weights(layer, driver.upload(bytes(size)), size)
    guest.pack(weights, moejit.Checkpoint(**dict(zip(("gate_up", "gate_up_scale", "down", "down_scale"),
                                                     map(driver.upload, tensors)))), 0, EXPERTS, None)
    plan, executor = guest.plan(layer, TOKENS), guest.executor()
    output = driver.upload(b"\xff" * ((TOKENS + 1) * HIDDEN * 4))
    args = moejit.ForwardArgs(
        num_tokens=TOKENS,
        x=moejit.Tensor(driver.upload(array.array("H", map(bf16_bits, x))), moejit.BF16, TOKENS, HIDDEN, 0),
        expert_ids=driver.upload(array.array("i", ids)),
        router_weights=driver.upload(array.array("f", router)),
        gate_up_alpha=driver.upload(array.array("f", [alphas[0]] * EXPERTS)),
        down_alpha=driver.upload(array.array("f", [alphas[1]] * EXPERTS)),
        output=moejit.Tensor(output, moejit.F32, TOKENS + 1, HIDDEN, 0),
        workspace=driver.upload(bytes(guest.workspace_bytes(plan))),
        workspace_bytes=guest.workspace_bytes(plan),
        check_pointers=1,
    )
    guest.forward(plan, weights, args, executor, None)
    driver.call("cuCtxSynchronize")
    got = array.array("f", driver.download(output, (TOKENS + 1) * HIDDEN * 4))
    want = [value for row in reference(x, ids, router, tensors, alphas) for value in row]
    error = math.sqrt(sum((g - w) ** 2 for g, w in zip(got, want)) / sum(w * w for w in want))
    assert error <= 4e-4, f"error {error} of the output, needs 4e-4"  # f32, end to end (docs/numerics.md)
    assert all(math.isnan(value) for value in got[TOKENS * HIDDEN :]), "row num_tokens was touched"
    counters = guest.counters(executor)
    assert (counters.forwards, counters.bytes_zeroed) == (1, TOKENS * HIDDEN * 4), "the counters are off"
    args.output.rows = 3
    try:
        guest.forward(plan, weights, args, executor, None)
        raise AssertionError("an output that is too short was taken")
    except moejit.MoejitError as refusal:
        assert str(refusal) == f"output has rows = 3, needs at least num_tokens = {TOKENS}", refusal
    guest.destroy(executor, plan, weights)
    guest.close()
    print(f"{guest_name()}: error {error:.2e} of the output")


def guest_name():
    return f"moejit by ctypes beside SQLite {sqlite3.sqlite_version}"


def check_sqlite():
    database = sqlite3.connect(":memory:")
    assert database.execute("select 6 * 7").fetchone() == (42,)


check_layouts()
check_sqlite()
check_layer()
check_sqlite()
