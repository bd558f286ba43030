"""A Python instance under measurement: `worker.py FUNCTION FOLDER`.

Takes one step per line of standard input and answers each with a line `WHAT NS`: `next` with what
the step added (`runtime` unasked, `library`, `ignored`, or `ready`) and the processor time that
the process has used so far; `first` and `base`, calls, with `done` and the time that the call took.
The runtime is what every Python function of the paper runs in: Flask behind waitress, whose
threads do the work. A call enters at the WSGI interface; there is no socket traffic."""

import sys
import threading
import time
from pathlib import Path

import flask
import waitress
from functions import FUNCTIONS, INPUTS


class Task:
    """One call, in the form that waitress's threads take."""

    def __init__(self, app, path):
        self.app, self.path, self.error, self.done = app, path, None, threading.Event()

    def service(self):
        try:
            start = time.process_time_ns()
            environ = {
                "REQUEST_METHOD": "POST",
                "PATH_INFO": self.path,
                "SERVER_NAME": "localhost",
                "SERVER_PORT": "80",
                "wsgi.url_scheme": "http",
            }
            status = []
            b"".join(self.app(environ, lambda code, headers: status.append(code)))
            self.took = time.process_time_ns() - start
            assert status == ["200 OK"], status
        except BaseException as error:
            self.error = error
        self.done.set()

    def cancel(self):
        self.done.set()


def main(name, folder):
    app = flask.Flask(__name__)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    server = waitress.create_server(app, host="127.0.0.1", port=0)
    stages = FUNCTIONS[name](Path(folder))
    inputs = dict(zip(("first", "base"), INPUTS[name]))
    answer("runtime")
    for line in sys.stdin:
        step = line.strip()
        if step == "next":
            added = next(stages)
            if callable(added):
                route(app, added, inputs)
                added = "ready"
            answer(added)
        else:
            task = Task(app, "/" + step)
            server.task_dispatcher.add_task(task)
            task.done.wait()
            if task.error:
                raise task.error
            answer("done", task.took)


def route(app, handler, inputs):
    app.add_url_rule("/<step>", view_func=lambda step: str(handler(*inputs[step])), methods=["POST"])


def answer(what, nanoseconds=None):
    print(what, time.process_time_ns() if nanoseconds is None else nanoseconds, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
