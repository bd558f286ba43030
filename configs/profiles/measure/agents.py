"""Measures the process of an idle-handed agent and prints its page table as TOML.

The agent is a LangGraph graph of two nodes, one that asks a chat model and one that runs a tool, as
TrEnv-X's agents are built (langchain, langgraph, openai, in the versions of its agent image). The
model is a server on the loopback interface that answers every request with the same words. One
request goes before the checkpoint, one is watched. Numbers as in measure.py: pages by the step in
which they appeared (runtime: the bare interpreter; library: imports; function: client, graph, first
request) and by what a request does to them.

Needs root, cc, and a Python that has agents-requirements.txt: `PYTHON agents.py > table.toml`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve()
RUNS = 9


def worker(port):
    """The agent's process: takes a step per line, answers with its name and processor time."""
    answer("runtime")
    sys.stdin.readline()
    from langchain_core.messages import HumanMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from langgraph.prebuilt import create_react_agent

    answer("library")
    sys.stdin.readline()

    @tool
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    model = ChatOpenAI(model="mock", base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    agent = create_react_agent(model, [add])
    question = {"messages": [HumanMessage("Should I draw another card? " * 40)]}
    agent.invoke(question)
    answer("function")
    for _ in sys.stdin:
        agent.invoke(question)
        answer("request")


def answer(step):
    print(step, time.process_time_ns(), flush=True)


class Model(BaseHTTPRequestHandler):
    """Answers every request alike."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": "No. " * 200}
        body = {
            "id": "0",
            "object": "chat.completion",
            "created": 0,
            "model": "mock",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 280, "completion_tokens": 400, "total_tokens": 680},
        }
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def observe(port, hook):
    """One process: processor times, pages, file pages, regions, threads."""
    from pages import Observer, resident

    environment = os.environ | {"LD_PRELOAD": str(hook), "PYTHONHASHSEED": "0"}
    pipe = subprocess.PIPE
    command = [sys.executable, HERE, "worker", str(port)]
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:

        def step(ask=True):
            if ask:
                print("next", file=process.stdin, flush=True)
            return int(process.stdout.readline().split()[1])

        runtime_init = step(ask=False)
        observer = Observer(process.pid)
        group_of = dict.fromkeys(observer.anonymous(), "runtime")
        for group in "library", "function":
            init = step()
            group_of = {a: group_of.get(a, group) for a in observer.anonymous()}
        mappings = observer.mappings()
        file, regions, threads = resident(mappings)[1], len(mappings), observer.status("Threads")
        observer.watch(group_of)
        before = step()
        read_only, written, growth = observer.report()
        observer.close()
        requests = []
        for _ in range(5):
            used = step()
            requests.append(used - before)
            before = used
        process.stdin.close()
    pages = {("instance", "written"): growth}
    for content in "runtime", "library", "function":
        total = sum(1 for group in group_of.values() if group == content)
        pages[content, "read_only"] = read = read_only.get(content, 0)
        pages[content, "written"] = wrote = written[content]
        pages[content, "untouched"] = max(0, total - read - wrote)
    return runtime_init, init, statistics.median(requests[1:]), file, regions, threads, pages


def main():
    sys.path.append(str(HERE.parent))
    from measure import BEHAVIOURS, CHECKPOINTED, CONTENTS, machine, size_text, time_text

    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        hook = Path(folder) / "hook.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", hook, HERE.parent / "hook.c"], check=True)
        samples = [observe(server.server_port, hook) for _ in range(RUNS + 1)][1:]
    median = [statistics.median(sample[i] for sample in samples) for i in range(6)]
    pages = {key: round(statistics.median(s[6][key] for s in samples)) for key in samples[0][6]}
    read, written = (sum(pages.get((c, b), 0) for c in CHECKPOINTED) for b in BEHAVIOURS[:2])
    how = f"configs/profiles/measure/agents.py, CPython {platform.python_version()}, {machine()}, median of {RUNS}"
    print(f"# {how}\n# runtime {time_text(median[0])}, one request {time_text(median[2])} of processor time,")
    print(f"# read-only share of the touched pages {read / (read + written):.2f}")
    print(f"init = {time_text(median[1])}\nregions = {round(median[4])}\nthreads = {round(median[5])}")
    print(f"file = {size_text(round(median[3]))}")
    for content in CONTENTS:
        print(f"[pages.{content}]")
        for behaviour in BEHAVIOURS:
            print(f"{behaviour} = {size_text(pages.get((content, behaviour), 0))}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(int(sys.argv[2]))
    else:
        main()
