#!/usr/bin/env python3
"""The golden table of `moejit inspect cost`: cost_sm_90a.txt, its copy in docs/kernels.md, and what src/moe/loop_cost.h knows of it.

    cost.py check  --command MOEJIT --emulator LIBRARY --cache DATABASE     exit status 1 where a row got worse, 77 to skip
    cost.py update ...                                                      writes all anew (tools/update_cost.sh calls it)

It is of one NVRTC, the pinned one: another writes other code. It is worse where a kernel spills, where ptxas serialises wgmma, and
where one of the columns of RULES moved the wrong way.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

NVRTC = "13.0"
COMMAND = ["inspect", "cost", "--model", "deepseek-r1"]
HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE / "cost_sm_90a.txt"
COSTS = HERE.parent.parent / "src" / "moe" / "tile_costs.def"
PAGE = HERE.parent.parent / "docs" / "kernels.md"
MARKS = ("<!-- cost_sm_90a.txt -->\n", "<!-- end -->\n")
SKIPPED = 77
NAME_WIDTH = 32  # of a table's first column
# Of each table, by the first words of its header: columns that must not grow (+) or shrink (-).
RULES = {
    "kernel": {"spilled": "+", "serialised": "+", "CTAs": "-", "in-flight": "-", "sectors": "+", "conflicts": "+"},
    "warp instructions a block": {"all": "+"},
    "clocks a block": {"TB/s": "-", "tensor-share": "-", "budget": "+"},
    "clocks of each width": {},
    "predicted us at T tokens": {None: "+"},  # every column
}


def say(text):
    print(text, flush=True)


def run(command, arguments):
    done = subprocess.run([command, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command} {' '.join(arguments)}: exit status {done.returncode}")
    return done.stdout


def nvrtc_of(command, emulator):
    arguments = [command, "doctor", "--json", "--cuda-library", emulator, "--cache", ""]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=False)
    text = json.loads(done.stdout)["nvrtc"]["text"]
    version = re.search(r"NVRTC (\d+\.\d+)", text)
    if version is None:
        sys.exit(f"there must be an NVRTC; doctor says: {text}")
    return version.group(1)


def rows_of(text):
    """{(table, row, column): value}"""
    values, table, columns = {}, None, []
    for line in text.splitlines():
        name, rest = line[:NAME_WIDTH].strip(), line[NAME_WIDTH:].split()
        if name in RULES:
            table, columns = name, rest
        elif name:
            rest = rest[: len(columns) - 1] + [" ".join(rest[len(columns) - 1:])]
            values.update({(table, name, column): value for column, value in zip(columns, rest)})
    return values


def number(value):
    """A larger one is worse where the rule says +: also of yes and no, and of a budget."""
    words = {"no": 0.0, "yes": 1.0, "met": 0.0, "-": 0.0}
    if value in words:
        return words[value]
    try:
        return float(value.rstrip("%"))
    except ValueError:
        return float(value.count(",") + 1)  # the broken rules of a budget


def compare(golden, found):
    """Sentences, of what is worse and of what is otherwise different."""
    worse, different = [], []
    for key in sorted(set(golden) | set(found), key=str):
        table, row, column = key
        old, new = golden.get(key), found.get(key)
        if old == new:
            continue
        sentence = f"{row}: {column} ({table}): {old} before, {new} now"
        rule = RULES[table].get(column, RULES[table].get(None))
        if old is None or new is None:
            worse.append(sentence + ": the golden table has other rows or columns")
        elif rule is not None and (number(new) - number(old)) * (1 if rule == "+" else -1) > 0:
            worse.append(sentence)
        else:
            different.append(sentence)
    return worse, different


def page_parts():
    text = PAGE.read_text()
    before, rest = text.split(MARKS[0], 1)
    inside, after = rest.split(MARKS[1], 1)
    return before, inside, after


def as_block(text):
    return "\n" + "".join("    " + line + "\n" if line else "\n" for line in text.splitlines()) + "\n"


def costs_of(text):
    lines = ["// Clocks of one SM for a block at each width: TILE_COST(tile, step, tokens, instructions, tensor cores). Written by\n"
             "// tools/update_cost.sh from tests/kernels/cost_sm_90a.txt; not by hand.\n"]
    for (table, row, _), value in rows_of(text).items():
        if table != "clocks of each width":
            continue
        step, tile = row.split()
        for width in value.split():
            tokens, instructions, tensor = re.split("[:/]", width)
            lines.append(f'TILE_COST("{tile}", {step.upper()}, {tokens}, {instructions}, {tensor})\n')
    return "".join(lines)


def update(text):
    GOLDEN.write_text(text)
    COSTS.write_text(costs_of(text))
    before, _, after = page_parts()
    PAGE.write_text(before + MARKS[0] + as_block(text) + MARKS[1] + after)
    say(f"wrote {GOLDEN.name}, its copy in docs/{PAGE.name}, and {COSTS.name}")


def check(text):
    golden = GOLDEN.read_text()
    worse, different = compare(rows_of(golden), rows_of(text))
    if page_parts()[1] != as_block(golden):
        worse.append(f"docs/{PAGE.name} has another table than {GOLDEN.name}")
    if COSTS.read_text() != costs_of(golden):
        worse.append(f"src/moe/{COSTS.name} has other costs than {GOLDEN.name}")
    for sentence in different:
        say("not worse, but different: " + sentence)
    for sentence in worse:
        say("WORSE: " + sentence)
    if worse or different:
        say("tools/update_cost.sh writes the table anew, for a change that is meant")
    return 1 if worse else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["check", "update"])
    parser.add_argument("--command", required=True)
    parser.add_argument("--emulator", required=True)
    parser.add_argument("--cache", required=True, help="a database that no other NVRTC has filled")
    options = parser.parse_args()
    version = nvrtc_of(options.command, options.emulator)
    if version != NVRTC:
        say(f"skipped: this is NVRTC {version}, and the table is of NVRTC {NVRTC}")
        return SKIPPED
    text = run(options.command, [*COMMAND, "--emulator", options.emulator, "--cache", options.cache])
    return update(text) or 0 if options.what == "update" else check(text)


if __name__ == "__main__":
    sys.exit(main())
