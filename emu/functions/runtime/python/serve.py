"""Serves one function: requests as lines of JSON on one descriptor, answers on another.

Started with descriptors 0 and 1 as the protocol (one stream socket, or two pipes), it moves them away at once, so
that what libraries print goes to standard error. Then it loads the handler, says that it is ready, and answers
requests until the input ends:

    {"ready":true,"function":NAME,"pid":PID,"threads":THREADS}
    {"id":N,"input":{...}}          ->  {"id":N,"ok":true,"output":{...},"us":SERVICE_US}
                                    or  {"id":N,"ok":false,"error":"..."}

Between requests the process holds these descriptors, and its main thread is in a single read(2) of the first:

    3 (and 4, with pipes)   the protocol          0   /dev/null          1, 2   standard error

With --threads N, N worker threads take the requests and wait for the next one in a futex. With none, the main
thread does the work itself.

A handler is a file with `handle(input)`, which does the work and is timed, and perhaps `describe(result)`, which
turns its result into something small that can be checked; that is not timed.
"""

import argparse
import importlib.util
import json
import os
import queue
import sys
import threading
import time


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--handler", required=True)
    parser.add_argument("--threads", type=int, default=0, help="worker threads; 0: the main thread does the work")
    options = parser.parse_args()

    channel = Channel(*move_protocol())
    handler = load(options.handler)
    server = Pool(handler, channel, options.threads) if options.threads else Direct(handler, channel)
    threads = len(os.listdir("/proc/self/task"))
    channel.send({"ready": True, "function": options.name, "pid": os.getpid(), "threads": threads})
    for line in channel.lines():
        server.take(line)
    server.finish()


def move_protocol():
    """Moves the protocol off 0 and 1; returns where it is now, for reading and for writing."""
    same = os.path.sameopenfile(0, 1)
    reading = os.dup(0)
    writing = reading if same else os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    # Written at once, so that a captured process holds nothing that each of its copies would print.
    sys.stdout = sys.stderr
    return reading, writing


def load(path):
    sys.path.insert(0, os.path.dirname(path))
    spec = importlib.util.spec_from_file_location("handler", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Channel:
    """Lines in, lines out. Reads are single system calls without a buffer object's lock around them."""

    def __init__(self, reading, writing):
        self.reading = reading
        self.writing = writing
        self.sending = threading.Lock()

    def lines(self):
        rest = b""
        while piece := os.read(self.reading, 1 << 16):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole

    def send(self, message):
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self.sending:
            while data:
                data = data[os.write(self.writing, data) :]


class Direct:
    """The main thread does the work."""

    def __init__(self, handler, channel):
        self.handler = handler
        self.channel = channel

    def take(self, line):
        if line.strip():
            self.channel.send(answer(self.handler, line))

    def finish(self):
        pass


class Pool:
    """Worker threads do the work; answers come in the order in which they are done."""

    def __init__(self, handler, channel, threads):
        self.direct = Direct(handler, channel)
        self.waiting = queue.SimpleQueue()
        self.workers = [threading.Thread(target=self.work) for _ in range(threads)]
        for worker in self.workers:
            worker.start()

    def work(self):
        while (line := self.waiting.get()) is not None:
            self.direct.take(line)

    def take(self, line):
        self.waiting.put(line)

    def finish(self):
        for _ in self.workers:
            self.waiting.put(None)
        for worker in self.workers:
            worker.join()


def answer(handler, line):
    """The answer to a request; whatever goes wrong with it is an answer too."""
    number = None
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise TypeError(f"a request is an object, not {request!r:.60}")
        number = request.get("id")
        given = request["input"]
        start = time.perf_counter_ns()
        result = handler.handle(given)
        us = (time.perf_counter_ns() - start) // 1000
        describe = getattr(handler, "describe", None)
        return {"id": number, "ok": True, "output": describe(result) if describe else result, "us": us}
    except Exception as error:
        return {"id": number, "ok": False, "error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
