#!/usr/bin/env python3
"""tests/kernels/cost.py tells a worse row from another one: a value of each column is moved both ways in the golden tables."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "kernels"))
import cost  # noqa: E402


def move(golden):
    assert cost.compare(golden, golden) == ([], [])
    tables = {table for table, _, _ in golden}
    assert tables == set(cost.RULES), tables
    moved = set()
    for key, value in golden.items():
        table, _, column = key
        kind = (table, column, value if column in ("serialised", "budget") else "")
        if kind in moved or value == "-":
            continue
        moved.add(kind)
        rule = cost.RULES[table].get(column, cost.RULES[table].get(None))
        words = {"no": ("yes", None), "yes": (None, "no"), "met": ("below 3.6 TB/s", None)}
        if rule is None:
            more, less = "x", None  # of no rule: different, never worse
        elif value in words:
            more, less = words[value]
        elif column == "budget":
            more, less = value + ", spills", "met"
        else:
            more, less = (f"{float(value.rstrip('%')) + step}" for step in (1, -1))
        worse, better = (more, less) if rule != "-" else (less, more)
        if worse is not None:
            found = cost.compare(golden, {**golden, key: worse})
            assert (len(found[0]), len(found[1])) == ((1, 0) if rule else (0, 1)), (key, worse, found)
        if better is not None:
            assert len(cost.compare(golden, {**golden, key: better})[1]) == 1, (key, better)
    without = {key: value for key, value in golden.items() if key[1] != next(iter(golden))[1]}
    assert cost.compare(golden, without)[0] and cost.compare(without, golden)[0]
    return len(moved)


print(sum(move(cost.rows_of(table.golden.read_text())) for table in cost.TABLES), "values moved")
