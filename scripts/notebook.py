#!/usr/bin/env python3
"""Loads what trenvx wrote into a pandas DataFrame, or, without pandas, a list of dicts.

    import notebook
    notebook.load("out/experiments/e04-kick-sim.json")                # one row per run
    notebook.load("out/experiments/e04-kick-sim.json", "functions")   # one row per run and function
    notebook.load("out/figures/e04-kick")                             # the summary: one row per value
    notebook.load("out/experiments/sweep.csv")                        # a table that trenvx sweep wrote
    notebook.load("out")                                              # summaries of all experiments

Tables of a run: functions, starts, memory, places, agents, counters. Every row has the point's axes, its
label, the seed and the run's key. Numbers are numbers, empty cells are None (NaN in pandas).

On the command line it prints CSV: notebook.py PATH [TABLE].
"""

import csv
import json
import sys
from pathlib import Path

try:
    import pandas
except ImportError:
    pandas = None

#: Fields of a manifest that tell what a run cost.
COSTS = ("wall_s", "cpu_s", "build_s", "write_s", "process_peak_rss_bytes")


def load(path, table=None, as_rows=False):
    """The rows of a file or folder; a DataFrame if pandas is there and `as_rows` is false."""
    rows = _rows(Path(path), table)
    if pandas is None or as_rows:
        return rows
    return pandas.DataFrame(rows)


def _rows(path, table):
    if path.is_dir():
        if (path / "summary.csv").is_file():
            return _read(path / (f"{table}.csv" if table else "summary.csv"))
        summaries = sorted((path / "figures").glob("*/summary.csv"))
        if not summaries:
            raise FileNotFoundError(f"{path}: no summary in it: name an output folder, or draw figures first (trenvx figure)")
        return [{"folder": file.parent.name, **row} for file in summaries for row in _read(file)]
    if path.suffix == ".json":
        return _of_index(path, table)
    return _read(path)


def _of_index(path, table):
    """The runs that an index names, from the store beside it."""
    index = json.loads(path.read_text())
    if "runs" not in index:
        raise ValueError(f"{path}: no index of runs: name a file like out/experiments/e04-kick-sim.json")
    store = path.parent.parent / "runs"
    rows = []
    for run in index["runs"]:
        folder = store / run["key"]
        if not (folder / "DONE").is_file():
            raise FileNotFoundError(f"{folder}: not a complete run: trenvx run {index['experiment']} makes it again")
        about = {"experiment": index["experiment"], "tier": index["tier"], "world": index["world"]}
        about |= {axis: value for axis, value in run["axes"]}
        about |= {"label": run["label"], "seed": run["seed"], "key": run["key"]}
        rows.extend({**about, **row} for row in _of_run(folder, table))
    return rows


def _of_run(folder, table):
    if table is None:
        manifest = json.loads((folder / "manifest.json").read_text())
        functions = _read(folder / "functions.csv")
        row = {name: sum(f[name] or 0 for f in functions) for name in ("completed",) if functions and name in functions[0]}
        row |= {"invocations": manifest["workload"]["invocations"], "warnings": len(manifest["warnings"])}
        yield row | {name: manifest.get(name) for name in COSTS}
    elif table == "counters":
        yield _flat(json.loads((folder / "counters.json").read_text()))
    else:
        file = folder / f"{table}.csv"
        if not file.is_file():
            known = sorted(one.stem for one in folder.glob("*.csv")) + ["counters"]
            raise FileNotFoundError(f"{file}: no such table: this run has {', '.join(known)}")
        yield from _read(file)


def _flat(value, path=""):
    """Nested objects as one, their keys joined with dots."""
    if not isinstance(value, dict):
        return {path: value}
    found = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{path}.{key}" if path else key)
    return found


def _read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [{key: _typed(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def _typed(cell):
    if cell == "":
        return None
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell


def main(arguments):
    if not 1 <= len(arguments) <= 2 or arguments[0] in ("-h", "--help"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    rows = load(*arguments, as_rows=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(sys.stdout, columns)
    writer.writeheader()
    writer.writerows(rows)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (FileNotFoundError, ValueError) as error:
        print(f"notebook: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
