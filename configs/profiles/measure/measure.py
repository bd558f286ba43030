"""Measures the function profiles and prints them as TOML.

RUNS processes of each function, in rounds over all functions and one at a time. Each process:
start of the runtime, imports, loading, one call with another input (the paper takes its checkpoint
after such a call), the call that is watched, SETTLE calls, CALLS timed ones. Every number is the
median over the processes. Every time is processor time, which neighbours on the machine disturb
only through shared caches and memory.

- `init`: processor time from fork to ready for the first call.
- `service`: median of the timed calls of all processes; sigma of the logarithm within a process,
  from the interquartile range, so that the machine's own drift is not taken for the function's.
- `pages`: resident anonymous memory after the first call, each page counted in the content class
  of the step in which it appeared (runtime, library, function), by what the watched call does to
  it. `instance.written` is the growth of anonymous memory at its peak during the call: memory
  that is not in a checkpoint and that the call itself makes.
- `file`: resident file-backed memory; `regions`, `threads`: of the process at that point.

Limits. Pages are not compared by content: "runtime" pages may differ between functions. Reads are
counted by the processor's accessed bits, so a prefetched translation counts as a read. The kernel's
counter of the peak is exact to 64 pages. Libraries are kept to one thread (the paper's functions
have one processor, but for image-recognition). The page cache is warm. The watchdog process and the
network are not in it.
"""

import argparse
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import inputs
from pages import PAGE, Observer, resident

HERE = Path(__file__).resolve().parent
CHECKPOINTED = "runtime", "library", "function"
CONTENTS = *CHECKPOINTED, "instance"
BEHAVIOURS = "read_only", "written", "untouched"

# Whose profile stands for functions of traces that have no name.
DEFAULT = "json-serde"

# The range of read-only shares of accesses that the paper gives.
READ_ONLY_RANGE = 0.24, 0.90

IN_CACHE = 0.02, "computes on a few KiB that stay in the processor's caches"
OBJECTS = 0.05, "walks many small objects of an interpreter's heap, mostly in cache"
STREAMS = 0.10, "streams through pictures larger than the caches, in order, which prefetching hides in part"
RANDOM = 0.15, "follows the edges of a graph larger than the caches, in no order"
INTENSITY = {
    "hello-world": OBJECTS,
    "chameleon": OBJECTS,
    "dynamic-html": OBJECTS,
    "image-processing": STREAMS,
    "pyaes": IN_CACHE,
    "image-recognition": (0.10, "streams through 98 MiB of weights at every call"),
    "video-processing": STREAMS,
    "json-serde": OBJECTS,
    "pagerank": RANDOM,
    "crypto": IN_CACHE,
    "image-flip-rotate": STREAMS,
    "js-json-serde": OBJECTS,
}

# Calls after the watched one that are not timed: they bring the caches back.
SETTLE = 2

NODE = "crypto", "image-flip-rotate", "js-json-serde"

NOTES = {
    "image-recognition": [
        "PyTorch, ResNet-50 with untrained weights. With a CUDA build of PyTorch, what loading",
        "libtorch_cuda.so adds (time, pages, regions) is left out: the profile is of a CPU build.",
    ],
    "hello-world": ["Flask and waitress alone."],
}


@dataclass
class Sample:
    """What one process showed. Memory in pages, times in nanoseconds."""

    init: int
    service: list
    pages: dict
    file: int
    regions: int
    threads: int


class Worker:
    """A process that runs one function, step by step."""

    def __init__(self, function, folder, hook):
        runtime = ["node", HERE / "node" / "worker.js"]
        if function not in NODE:
            runtime = [sys.executable, HERE / "python" / "worker.py"]
        environment = os.environ | {
            "LD_PRELOAD": str(hook),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONHASHSEED": "0",
            "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
        }
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*runtime, function, folder], env=environment, stdin=pipe, stdout=pipe, text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def answer(self):
        words = self.process.stdout.readline().split()
        if len(words) != 2:
            raise RuntimeError("the worker has ended")
        return words[0], int(words[1])

    def ask(self, step):
        print(step, file=self.process.stdin, flush=True)
        return self.answer()


def observe(function, folder, hook, calls):
    """One process, from its start to its last call."""
    with Worker(function, folder, hook) as worker:
        what, used = worker.answer()
        observer = Observer(worker.process.pid)
        group_of = dict.fromkeys(observer.anonymous(), "runtime")
        init, file, regions = used, 0, 0  # Without ignored steps; file and regions as corrections.
        while what != "ready":
            before = used
            mappings = observer.mappings()
            what, used = worker.ask("next")
            if what == "ignored":
                after = observer.mappings()
                file -= resident(after)[1] - resident(mappings)[1]
                regions -= len(after) - len(mappings)
            else:
                init += used - before
            group_of = born(group_of, observer.anonymous(), "function" if what == "ready" else what)
        worker.ask("first")
        group_of = born(group_of, observer.anonymous(), "function")
        mappings = observer.mappings()
        file += resident(mappings)[1]
        regions += len(mappings)
        threads = observer.status("Threads")

        observer.watch(group_of)
        worker.ask("base")
        read_only, written, growth = observer.report()
        observer.close()
        pages = {("instance", "written"): growth}
        for content in CHECKPOINTED:
            total = sum(1 for group in group_of.values() if group == content)
            pages[content, "read_only"] = read = read_only.get(content, 0)
            pages[content, "written"] = wrote = written[content]
            pages[content, "untouched"] = max(0, total - read - wrote)
        service = [worker.ask("base")[1] for _ in range(SETTLE + calls)][SETTLE:]
        return Sample(init, service, pages, file, regions, threads)


def born(group_of, present, group):
    """Groups of the pages that are present now: known ones keep theirs."""
    return {address: group_of.get(address, group) for address in present}


def summary(samples):
    """Medians over the processes of a function."""
    median = statistics.median
    return {
        "init": median(s.init for s in samples),
        "service": median(call for s in samples for call in s.service),
        "sigma": spread([s.service for s in samples]),
        "regions": round(median(s.regions for s in samples)),
        "threads": round(median(s.threads for s in samples)),
        "file": round(median(s.file for s in samples)),
        "pages": {key: round(median(s.pages[key] for s in samples)) for key in samples[0].pages},
    }


def spread(processes):
    """Standard deviation of the logarithm within a process, of a normal one with the same quartiles."""
    residuals = []
    for calls in processes:
        logs = [math.log(call) for call in calls]
        unbiased = math.sqrt(len(logs) / (len(logs) - 1))
        residuals += [(log - statistics.fmean(logs)) * unbiased for log in logs]
    quarter, _, three_quarters = statistics.quantiles(residuals, n=4)
    return (three_quarters - quarter) / 1.349


def time_text(nanoseconds):
    """Three significant digits."""
    for unit, size in ("s", 1e9), ("ms", 1e6), ("us", 1e3):
        if nanoseconds >= size or unit == "us":
            value = nanoseconds / size
            return f'"{value:.{max(0, 2 - math.floor(math.log10(value)))}f} {unit}"'


def size_text(pages):
    return f'"{pages * PAGE // 1024} KiB"'


def table(name, result, source, intensity):
    """A function's TOML."""
    value, why = intensity
    pages = result["pages"]
    read, written = (sum(pages.get((c, b), 0) for c in CHECKPOINTED) for b in BEHAVIOURS[:2])
    measured = read / (read + written)
    accesses = min(max(measured, READ_ONLY_RANGE[0]), READ_ONLY_RANGE[1])
    lines = [f"# {note}" for note in NOTES.get(name, [])]
    runtime = "node" if name in NODE else "python"
    lines += [f"[{name}]", f'runtime = "{runtime}"', f'source = "{source}"', f"init = {time_text(result['init'])}"]
    if "service" in result:
        median, sigma = time_text(result["service"]), max(result["sigma"], 0.001)
        lines.append(f"service = {{ log-normal = {{ median = {median}, sigma = {sigma:.3f} }} }}")
    lines += [f"{key} = {result[key]}" for key in ("regions", "threads")]
    lines.append(f"file = {size_text(result['file'])}")
    lines.append(
        f'memory_intensity = {{ value = {value}, source = "none", assumed = true, '
        f'why = "{why}; to be replaced by calibration" }}'
    )
    lines.append(
        f'read_only_accesses = {{ value = {accesses:.2f}, source = "this page table", assumed = true, '
        f'why = "share of the checkpointed pages it touches that are only read ({measured:.2f}) stands in for '
        f'the share of accesses, within the 24 to 90 % that the paper gives for its functions" }}'
    )
    for content in CONTENTS:
        if any(pages.get((content, b)) for b in BEHAVIOURS):
            lines.append(f"[{name}.pages.{content}]")
            lines += [f"{b} = {size_text(pages.get((content, b), 0))}" for b in BEHAVIOURS]
    return "\n".join(lines) + "\n"


def runtimes(results):
    """What functions of one runtime have in common: no more than the quickest of them initialises."""
    lines = ["# What functions of one runtime have in common: no more than the quickest of them initialises."]
    for runtime in "python", "node":
        inits = {n: r["init"] for n, r in results.items() if (n in NODE) == (runtime == "node")}
        if inits:
            quickest = min(inits, key=inits.get)
            lines.append(f"[runtimes.{runtime}]")
            lines.append(
                f'init = {{ value = {time_text(inits[quickest])}, source = "measured: initialisation of {quickest} '
                'below", assumed = true, why = "interpreter and server were not timed apart from a function; the '
                'quickest function\'s initialisation bounds theirs" }'
            )
    return "\n".join(lines) + "\n"


def machine():
    """The class of machine: cores, processor, kernel."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)[1].strip()
    virtual = " VM" if " hypervisor " in text else ""
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{os.cpu_count()}-core {model}{virtual}, Linux {kernel}"


def main():
    arguments = argparse.ArgumentParser(description="Prints configs/profiles/trenv-functions.toml.")
    arguments.add_argument("--runs", type=int, default=15, help="processes per function [15]")
    arguments.add_argument("--calls", type=int, default=5, help="timed calls per process, at least 2 [5]")
    arguments.add_argument("--only", nargs="*", default=list(INTENSITY), help="functions")
    options = arguments.parse_args()

    python = f"CPython {platform.python_version()}"
    node = "Node " + subprocess.check_output(["node", "--version"], text=True).strip().lstrip("v")
    how = f"{machine()}, median of {options.runs}"
    print("# Profiles of the paper's functions, re-written and measured; see README.md here.")
    print(f"# {how} processes, {options.calls} timed calls in each;")
    print(f"# {python}, {node}. Written by measure/run.sh.")

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        sys.path.append(str(HERE / "python"))
        inputs.make(folder)
        hook = folder / "hook.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", hook, HERE / "hook.c"], check=True)
        samples = {name: [] for name in options.only}
        for turn in range(options.runs + 1):
            for name in samples:
                sample = observe(name, folder, hook, max(2, options.calls))
                if turn > 0:  # The first fills the page cache and Python's compiled files.
                    samples[name].append(sample)
            print(f"\rrun {turn} of {options.runs} ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    results = {name: summary(of_function) for name, of_function in samples.items()}
    print("\n" + runtimes(results), end="")
    for name, result in results.items():
        source = f"measured: configs/profiles/measure, {node if name in NODE else python}, {how}"
        print("\n" + table(name, result, source, INTENSITY[name]), end="")
    if DEFAULT in results:
        print(f"\n# For functions of traces that have no name, in the proportions of {DEFAULT}; the\n"
              "# simulator scales it to the function's memory and takes the trace's own duration.")
        result = {k: v for k, v in results[DEFAULT].items() if k != "service"}
        source = f"as {DEFAULT}, {python}, {how}"
        print(table("default", result, source, INTENSITY[DEFAULT]), end="")


if __name__ == "__main__":
    main()
