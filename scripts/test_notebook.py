"""Tests of notebook.py; needs nothing but Python: python3 -m unittest discover scripts."""

import csv
import io
import json
import sys
import tempfile
import types
import unittest
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import notebook  # noqa: E402


def write_csv(path, columns, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


class Notebook(unittest.TestCase):
    """A store with two runs of one point, as trenvx writes it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name)
        runs = []
        for seed in (1, 2):
            key = f"{seed:032x}"
            run = self.out / "runs" / key
            write_csv(run / "functions.csv", ["function", "completed"], ["f,g", 10 * seed], ["h", 1])
            manifest = {"wall_s": 0.5 * seed, "cpu_s": None, "warnings": [], "workload": {"invocations": 40}}
            (run / "manifest.json").write_text(json.dumps(manifest))
            (run / "counters.json").write_text(json.dumps({"created": seed, "memory": {"peak": 7}}))
            (run / "DONE").write_text("{}")
            axes = [["panel", "one"], ["cluster.nodes", "4"], ["system", "t-cxl"]]
            runs.append({"label": "one/4/t-cxl", "axes": axes, "seed": seed, "key": key})
        self.index = self.out / "experiments" / "e98-kick-sim.json"
        self.index.parent.mkdir()
        index = {"experiment": "e98", "tier": "kick", "world": "sim", "runs": runs}
        self.index.write_text(json.dumps(index))
        summary = ["e98", "one/4/t-cxl", "p99", "12.5", ""]
        write_csv(self.out / "figures/e98-kick/summary.csv", ["experiment", "point", "statistic", "value", "low"], summary)

    def rows(self, *arguments):
        return notebook.load(*arguments, as_rows=True)

    def test_an_index_gives_one_row_per_run_with_its_axes(self):
        first, second = self.rows(self.index)
        self.assertEqual((first["system"], first["cluster.nodes"], first["seed"]), ("t-cxl", "4", 1))
        self.assertEqual((first["completed"], second["completed"]), (11, 21))
        self.assertEqual((second["wall_s"], second["cpu_s"]), (1.0, None))

    def test_a_table_gives_its_rows_beside_the_axes(self):
        rows = self.rows(self.index, "functions")
        self.assertEqual([(row["seed"], row["function"], row["completed"]) for row in rows],
                         [(1, "f,g", 10), (1, "h", 1), (2, "f,g", 20), (2, "h", 1)])
        self.assertEqual(self.rows(self.index, "counters")[1]["memory.peak"], 7)

    def test_folders_give_summaries_with_empty_cells_as_none(self):
        row = {"experiment": "e98", "point": "one/4/t-cxl", "statistic": "p99", "value": 12.5, "low": None}
        self.assertEqual(self.rows(self.out / "figures/e98-kick"), [row])
        self.assertEqual(self.rows(self.out), [{"folder": "e98-kick", **row}])

    def test_what_is_missing_is_named(self):
        with self.assertRaisesRegex(FileNotFoundError, "no such table: this run has functions, counters"):
            self.rows(self.index, "functons")
        (self.out / "runs" / f"{2:032x}" / "DONE").unlink()
        with self.assertRaisesRegex(FileNotFoundError, "not a complete run: trenvx run e98"):
            self.rows(self.index)
        with self.assertRaisesRegex(FileNotFoundError, "no summary in it"):
            self.rows(self.out / "runs")

    def test_with_pandas_it_is_a_frame_and_without_a_list(self):
        before = notebook.pandas
        self.addCleanup(setattr, notebook, "pandas", before)
        notebook.pandas = types.SimpleNamespace(DataFrame=lambda rows: ("frame", len(rows)))
        self.assertEqual(notebook.load(self.index), ("frame", 2))
        notebook.pandas = None
        self.assertIsInstance(notebook.load(self.index), list)

    def test_a_real_frame_has_numbers(self):
        if notebook.pandas is None:
            self.skipTest("no pandas here")
        frame = notebook.load(self.index, "functions")
        self.assertEqual(frame.groupby("function").completed.mean()["f,g"], 15)

    def test_the_command_line_prints_csv(self):
        printed = io.StringIO()
        with redirect_stdout(printed):
            self.assertEqual(notebook.main([str(self.index), "functions"]), 0)
        rows = list(csv.DictReader(io.StringIO(printed.getvalue())))
        self.assertEqual((len(rows), rows[0]["function"]), (4, "f,g"))


if __name__ == "__main__":
    unittest.main()
