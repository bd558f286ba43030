"""What all agents share: the model, the browser, and how an agent ends.

An agent is a program that is told everything by its environment and prints one line of JSON when it ends:

    {"answer": ..., "spent": {...}}            it came to an answer
    {"error": {"name": ..., "message": ...}}   it did not; exit status 1

    TRENVX_AGENT     its name, which is that of its recordings
    TRENVX_SEED      which recording, and with it which task
    TRENVX_NUMBER    its number in this run
    TRENVX_LLM       host:port of the model
    TRENVX_SITE      host:port of the web site
    TRENVX_BROWSER   host:port of the browser broker; not for agents without a browser
    TRENVX_PLACE     its number among those with a browser
    TRENVX_KEY       what it proves that with
    TRENVX_RECORD    set when a recording is made: the replies then come from model.py beside the agent

Only the standard library is used. The model is asked as OpenAI's chat completions are, streamed.
"""

import http.client
import json
import os
import resource
import socket
import sys
import time

# A model that is restarted is waited for: 40 times a quarter of a second.
TRIES = 40
PAUSE_S = 0.25
# A browser that was restarted costs the agent its work there; this often it begins anew.
BEGINNINGS = 4


class AgentError(Exception):
    """Ends the agent. Its name is what the harness counts."""

    name = "agent-failed"


class ModelUnavailable(AgentError):
    name = "model-unavailable"


class ModelRefused(AgentError):
    name = "model-refused"


class WrongReply(AgentError):
    """The model said what the agent cannot use."""

    name = "wrong-reply"


class BrowserFailed(AgentError):
    """The broker said no; the name is the broker's."""

    def __init__(self, name, message):
        super().__init__(message)
        self.name = name


class BrowserRestarted(BrowserFailed):
    """Everything in the browser is gone: begin anew."""


class Model:
    """The language model, as one conversation."""

    def __init__(self, agent, system):
        self.agent = agent
        self.messages = [{"role": "system", "content": system}]

    def ask(self, text):
        """Says `text` and returns the reply."""
        self.messages.append({"role": "user", "content": text})
        body = {
            "model": self.agent.name,
            "seed": self.agent.seed,
            "user": f"{self.agent.name}-{self.agent.number}",
            "messages": self.messages,
            "stream": True,
        }
        if self.agent.player is not None:
            body["recorded_reply"] = self.agent.player.reply(self.messages)
        begun = time.monotonic()
        reply = self._try(json.dumps(body))
        self.agent.spent["llm_s"] += time.monotonic() - begun
        self.agent.spent["requests"] += 1
        self.messages.append({"role": "assistant", "content": reply})
        return reply

    def _try(self, body):
        for left in reversed(range(TRIES)):
            try:
                return self._once(body)
            except (OSError, http.client.HTTPException) as error:
                # Refused, reset, or ended in the middle: the server keeps nothing, so asking again is safe.
                self.agent.spent["retries"] += 1
                if left == 0:
                    raise ModelUnavailable(f"{self.agent.llm}: {error!r} after {TRIES} tries") from error
                time.sleep(PAUSE_S)
        raise AssertionError("unreachable: the last try returns or raises")

    def _once(self, body):
        connection = http.client.HTTPConnection(self.agent.llm, timeout=600)
        try:
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                message = json.loads(response.read())["error"]["message"]
                raise ModelRefused(f"{response.status}: {message}")
            parts = []
            for line in response:
                if not line.startswith(b"data: "):
                    continue
                data = line[6:].strip()
                if data == b"[DONE]":
                    return "".join(parts)
                parts.append(json.loads(data)["choices"][0]["delta"].get("content", ""))
            raise http.client.IncompleteRead(b"")
        finally:
            connection.close()


class Browser:
    """The agent's part of a browser."""

    def __init__(self, agent):
        self.agent = agent
        host, port = agent.broker.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.do("hello", agent=agent.place, key=agent.key)

    def do(self, what, **arguments):
        begun = time.monotonic()
        self.socket.sendall(json.dumps({"do": what, **arguments}).encode() + b"\n")
        line = self.lines.readline()
        self.agent.spent["browser_s"] += time.monotonic() - begun
        self.agent.spent["browser_steps"] += 1
        if not line:
            raise BrowserFailed("browser-unavailable", "the broker closed the connection")
        answer = json.loads(line)
        if "error" in answer:
            error = answer["error"]
            kind = BrowserRestarted if error["name"] == "browser-restarted" else BrowserFailed
            raise kind(error["name"], error["message"])
        return answer["ok"]

    def open(self, path):
        """A new tab with a page of the site; its number."""
        return self.do("open", url=self.url(path))["page"]

    def go(self, page, path):
        self.do("go", page=page, url=self.url(path))

    def text(self, page, selector="main"):
        """What a visitor reads, without the spaces that layout makes."""
        lines = self.do("text", page=page, selector=selector).splitlines()
        return "\n".join(line for line in (" ".join(line.split()) for line in lines) if line)

    def url(self, path):
        return f"http://{self.agent.site}{path}"

    def close(self):
        self.lines.close()
        self.socket.close()


class Agent:
    """What an agent knows of itself."""

    def __init__(self):
        self.name = os.environ["TRENVX_AGENT"]
        self.seed = int(os.environ["TRENVX_SEED"])
        self.number = int(os.environ["TRENVX_NUMBER"])
        self.llm = os.environ["TRENVX_LLM"]
        self.site = os.environ.get("TRENVX_SITE", "")
        self.broker = os.environ.get("TRENVX_BROWSER", "")
        self.place = int(os.environ.get("TRENVX_PLACE", "0"))
        self.key = os.environ.get("TRENVX_KEY", "")
        # What the interpreter took to start is not the work's.
        self.begun_cpu_s = time.process_time()
        self.player = None
        if os.environ.get("TRENVX_RECORD"):
            import model

            self.player = model
        self.spent = {
            "llm_s": 0.0,
            "requests": 0,
            "retries": 0,
            "browser_s": 0.0,
            "browser_steps": 0,
            "beginnings": 0,
            "tool_runs": 0,
        }

    def model(self, system):
        return Model(self, system)

    def browser(self):
        return Browser(self)


def fields(reply):
    """The JSON object that a reply must be."""
    try:
        found = json.loads(reply)
    except ValueError as error:
        raise WrongReply(f"expected JSON, found {reply[:80]!r}") from error
    if not isinstance(found, dict):
        raise WrongReply(f"expected a JSON object, found {reply[:80]!r}")
    return found


def run(work):
    """Runs `work(agent)`, which returns the answer, and prints how it ended."""
    agent = Agent()
    try:
        while True:
            agent.spent["beginnings"] += 1
            try:
                answer = work(agent)
                break
            except BrowserRestarted:
                if agent.spent["beginnings"] >= BEGINNINGS:
                    raise
    except AgentError as error:
        ended = {"error": {"name": error.name, "message": str(error)}}
    else:
        ended = {"answer": answer}
    tools = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended["spent"] = {
        **agent.spent,
        "own_cpu_s": time.process_time() - agent.begun_cpu_s,
        "tool_cpu_s": tools.ru_utime + tools.ru_stime,
        "tool_peak_bytes": tools.ru_maxrss * 1024,
    }
    print(json.dumps(ended), flush=True)
    sys.exit(1 if "error" in ended else 0)
