#!/usr/bin/env python3
"""No instruction may write a register that a wgmma under way reads as A or adds to (PTX ISA, "wgmma.wait_group").

    wgmma_registers.py --command MOEJIT --cache DATABASE        exit status 1 where one does, 77 to skip (no nvdisasm)

Kernels dequantise the next products' A beside those under way, in registers that ptxas chooses: one before CUDA 13.3 is known to move
values into them too early (triton-lang/triton issue 9433). Looked at is the machine code of the wide tiles, in the order of its text. That
the test can fail is proven each time: with the waits taken out of the text, every kernel that waits for some of its products has to fail.
"""
import argparse
import json
import re
import subprocess
import sys

LAYERS = ["deepseek-r1", "gpt-oss-120b"]  # an even and an odd number of stages
SKIPPED = 77
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?(\S+)\s*(.*?)\s*;")
PARTIAL_WAIT = re.compile(r"WARPGROUP\.DEPBAR\.LE gsb0, 0x[1-9]")


def written(name, operands):
    """Registers of an instruction's first operand, if that is its result."""
    first = re.match(r"R(\d+)", operands)
    if first is None or name.startswith(("ST", "RED", "SYNCS", "BAR")):
        return set()
    width = 4 if ".128" in name else 2 if ".64" in name or ".WIDE" in name else 1
    return set(range(int(first[1]), int(first[1]) + width))


def hazards(sass):
    """How many wgmma there are, and the lines that write what one of them still uses."""
    count, lines, groups, group = 0, [], [], set()
    for line in sass.splitlines():
        found = INSTRUCTION.search(line)
        if found is None:
            continue
        name, operands = found.groups()
        if name.startswith("HGMMA"):
            sums, a = [int(register) for register in re.findall(r"\bR(\d+)", operands)][:2]
            width = int(re.search(r"64x(\d+)x16", name)[1])
            group = group | set(range(a, a + 4)) | set(range(sums, sums + width // 2))
            count += 1
            if "gsb0" in operands:  # the last of its group
                groups, group = groups + [group], set()
        elif name.startswith("WARPGROUP.DEPBAR"):
            pending = int(operands.split(",")[1], 16)
            groups = groups[len(groups) - pending:] if pending < len(groups) else groups
        elif written(name, operands) & set().union(group, *groups):
            lines.append(line.strip())
    return count, lines


def inspect(options, layer, *arguments):
    command = [options.command, "inspect", "--model", layer, "--arch", "sm_90a", "--cache", options.cache, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0 and "nvdisasm" in done.stderr:
        print(done.stderr.strip())
        sys.exit(SKIPPED)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", required=True)
    parser.add_argument("--cache", required=True)
    options = parser.parse_args()
    failed = proofs = 0
    for layer in LAYERS:
        kernels = [json.loads(row)["symbol"] for row in inspect(options, layer, "--json").splitlines()]
        for kernel in kernels:
            if "_hopper_256x" not in kernel:
                continue
            sass = inspect(options, layer, "--kernel", kernel, "--what", "sass")
            count, lines = hazards(sass)
            if count == 0:
                sys.exit(f"{layer}: {kernel} has no wgmma: is its text another one?")
            for line in lines:
                print(f"{layer}: {kernel} writes what a wgmma under way uses: {line}")
            failed += len(lines)
            if PARTIAL_WAIT.search(sass):
                proofs += 1
                if not hazards(PARTIAL_WAIT.sub("NOP", sass))[1]:
                    sys.exit(f"{layer}: {kernel} without its waits is not found wrong")
            print(f"{layer}: {kernel}: {count} wgmma, {len(lines)} hazards")
    if proofs == 0:
        sys.exit("no kernel waits for some of its products: nothing was proven")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
