#!/usr/bin/env python3
"""Markdown tables of what `moejit bench --json` wrote, as in docs/benchmarks.md.

    tools/bench_table.py FILE.jsonl...
"""

import json
import sys

CEILINGS = {
    "read_tb_per_s": ("streaming read of 2 GiB", "TB/s"),
    "copy_tb_per_s": ("device copy, read + write", "TB/s"),
    "fill_tb_per_s": ("memset", "TB/s"),
    "cublas_tflop_per_s": ("cuBLAS bf16 8192^3, sustained for 1 s", "TFLOP/s"),
    "cublas_burst_tflop_per_s": ("cuBLAS bf16 8192^3, a burst of three", "TFLOP/s"),
}
STEPS = ["tokens", "MB", "route", "gate_up", "ratio", "down", "ratio", "layer", "floor", "ratio", "TB/s", "TFLOP/s"]
STEPS += ["of cuBLAS", "MHz", "W"]


def table(heading, rows):
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    print("\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n")


def ceilings(row):
    print(f"{row['gpu']}, {row['arch']}, driver API {row['driver'] // 1000}.{row['driver'] % 1000 // 10}\n")
    rows = [
        [what, f"{row[key]['rate']:.2f} {unit}", f"{row[key]['sm_mhz']:.0f}", f"{row[key]['watts']:.0f}"]
        for key, (what, unit) in CEILINGS.items()
        if key in row
    ]
    table(["ceiling", "rate", "SM MHz", "W"], rows)


def step_row(row):
    steps = [cell for step in ("gate_up", "down") for cell in (f"{row[step]['us']:.2f}", f"{row[step]['ratio']:.2f}")]
    layer = row["layer"]
    cells = [str(row["tokens"]), f"{row['weight_bytes'] / 1e6:.1f}", f"{row['route_us']:.2f}"] + steps
    cells += [f"{layer['us']:.2f}", f"{layer['floor_us']:.2f}", f"{layer['ratio']:.2f}"]
    cells += [f"{layer['tb_per_s']:.3f}", f"{layer['tflop_per_s']:.1f}"]
    optional = [(row, "of_cublas", "{:.2f}"), (layer, "sm_mhz", "{:.0f}"), (layer, "watts", "{:.0f}")]
    return cells + [form.format(source[key]) if key in source else "" for source, key, form in optional]


def plain(rows):
    """Any other kind of line: its own keys are the columns."""
    keys = list(rows[0])
    table(keys, [[str(row.get(key, "")) for key in keys] for row in rows])


def main(paths):
    groups = {}
    for path in paths:
        for line in open(path, encoding="utf-8"):
            row = json.loads(line)
            if "gpu" in row:
                ceilings(row)
            elif "layer" in row:
                title = (row["model"], row["hidden"], row["intermediate"], row["local_experts"], row["top_k"])
                groups.setdefault((title, row["family"], row["sum"]), []).append(row)
            else:
                groups.setdefault(tuple(row), []).append(row)
    for key, rows in groups.items():
        if "layer" not in rows[0]:
            plain(rows)
            continue
        (model, hidden, intermediate, experts, top_k), family, order = key
        print(f"{model}: H {hidden}, I {intermediate}, {experts} experts here, top {top_k}; {family} family, {order} sum\n")
        table(STEPS, [step_row(row) for row in rows])


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    main(sys.argv[1:])
