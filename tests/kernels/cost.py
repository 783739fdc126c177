#!/usr/bin/env python3
"""The golden tables of `moejit inspect cost`: cost_ARCH.txt, their copies in docs/, and what src/moe/loop_cost.h knows of sm_90a's.

    cost.py check  --command MOEJIT --emulator LIBRARY --cache DATABASE     exit status 1 where a row got worse, 77 to skip
    cost.py update ...                                                      writes all anew (tools/update_cost.sh calls it)

They are of one NVRTC, the pinned one: another writes other code. A row is worse where a kernel spills, where ptxas serialises wgmma, and
where one of the columns of RULES moved the wrong way.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

NVRTC = "13.0"
COMMAND = ["inspect", "cost", "--model", "deepseek-r1"]
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COSTS = ROOT / "src" / "moe" / "tile_costs.def"  # sm_90a's
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


class Table:
    """One arch's: its file, the page that has a copy, further arguments, and whether it has the emulator's columns."""

    def __init__(self, arch, page, *arguments, emulated=True):
        self.arch, self.arguments, self.emulated = arch, ["--arch", arch, *arguments], emulated
        self.golden = HERE / f"cost_{arch}.txt"
        self.page = ROOT / "docs" / page if page else None
        self.marks = (f"<!-- {self.golden.name} -->\n", "<!-- end -->\n")

    def find(self, options):
        arguments = [*COMMAND, *self.arguments, "--cache", options.cache]
        if self.emulated:
            arguments += ["--emulator", options.emulator]
        return run(options.command, arguments, {**os.environ, "MOEJIT_EMULATOR_ARCH": self.arch})

    def page_parts(self):
        before, rest = self.page.read_text().split(self.marks[0], 1)
        inside, after = rest.split(self.marks[1], 1)
        return before, inside, after


# sm_121a has sm_120a's code, and so its counters.
TABLES = [
    Table("sm_90a", "kernels.md"),
    Table("sm_120a", "fp4.md", "--family", "fp4"),
    Table("sm_121a", None, "--family", "fp4", emulated=False),
]


def say(text):
    print(text, flush=True)


def run(command, arguments, environment):
    done = subprocess.run([command, *arguments], stdout=subprocess.PIPE, text=True, check=False, env=environment)
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


def update(table, text):
    table.golden.write_text(text)
    if table.page:
        before, _, after = table.page_parts()
        table.page.write_text(before + table.marks[0] + as_block(text) + table.marks[1] + after)
    if table is TABLES[0]:
        COSTS.write_text(costs_of(text))
    say(f"wrote {table.golden.name} and what is made of it")
    return 0


def check(table, text):
    golden = table.golden.read_text()
    worse, different = compare(rows_of(golden), rows_of(text))
    if table.page and table.page_parts()[1] != as_block(golden):
        worse.append(f"docs/{table.page.name} has another table than {table.golden.name}")
    if table is TABLES[0] and COSTS.read_text() != costs_of(golden):
        worse.append(f"src/moe/{COSTS.name} has other costs than {table.golden.name}")
    for sentence in different:
        say(f"{table.arch}: not worse, but different: {sentence}")
    for sentence in worse:
        say(f"{table.arch}: WORSE: {sentence}")
    if worse or different:
        say("tools/update_cost.sh writes the tables anew, for a change that is meant")
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
        say(f"skipped: this is NVRTC {version}, and the tables are of NVRTC {NVRTC}")
        return SKIPPED
    then = update if options.what == "update" else check
    return max([then(table, table.find(options)) for table in TABLES])


if __name__ == "__main__":
    sys.exit(main())
