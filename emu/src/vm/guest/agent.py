"""The agent inside a microVM: one line of JSON per request over a virtio port, one line per answer.

    {"id": 1, "input": {"action": "exec", "argv": ["true"]}}
    {"id": 1, "ok": true, "output": {"code": 0, "stdout": "", "stderr": ""}}

It is process 1 of the guest, and the runtime that a template keeps warm: what `run` defines stays defined.
"""

import base64
import ctypes
import fcntl
import gc
import glob
import json
import os
import random
import runpy
import select
import signal
import struct
import subprocess
import sys
import time
import traceback
import zlib

# What programs of agents are made of; imported here, so that a template has it warm.
import asyncio  # noqa: F401
import email.message  # noqa: F401
import hashlib
import html.parser  # noqa: F401
import http.client  # noqa: F401
import sqlite3  # noqa: F401
import urllib.request  # noqa: F401

RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
PIECE = 1 << 20
# Programs run as this user, in this folder; so much of what they print to standard error is shown.
NOBODY = 65534
WORK = "/tmp/work"
LOG = 2000
# How long a browser may take for each step of its warm-up. Software emulation needs most of it.
STEP_S = 120
# What it is warmed up with: what agents have a browser do.
PAGE = """<!doctype html><meta charset=utf-8><title>warm</title><style>body { font: 1em sans-serif } b { color: red }</style>
<main><h1>Warm</h1><p>One <b>two</b> <a href='#'>three</a><ul><li>four</ul><button>five</button><canvas></canvas></main>
<script>const all = []; for (let i = 0; i < 2000; i++) all.push({ i, text: `${i}` });
localStorage; document.querySelector('canvas').getContext('2d').fillRect(0, 0, 9, 9);
document.querySelector('button').onclick = () => document.querySelector('b').textContent = JSON.stringify(all).length;</script>"""

# What `run` works in, from request to request.
STATE = {}
SERVED = 0
# The kernel's random numbers.
POOL = os.open("/dev/urandom", os.O_WRONLY)


def meminfo():
    with open("/proc/meminfo") as file:
        rows = (line.split() for line in file)
        return {row[0].rstrip(":"): int(row[1]) * (1024 if row[-1] == "kB" else 1) for row in rows}


def ping():
    return {"served": SERVED, "uptime_s": time.monotonic()}


def wake(unix_ns, entropy):
    """A clone is not its template: another time, other random numbers.

    Its VMM has yet to see every piece of code that this runs, and software emulation translates each: so no file is
    opened, and random numbers are not hashed to become a seed."""
    time.clock_settime_ns(time.CLOCK_REALTIME, unix_ns)
    seed = bytes.fromhex(entropy)
    fcntl.ioctl(POOL, RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
    fcntl.ioctl(POOL, RNDRESEEDCRNG)
    random.seed(int.from_bytes(seed, "little"))


def run(code):
    """Runs Python; the answer is what it leaves in `result`."""
    STATE.pop("result", None)
    exec(code, STATE)
    return STATE.get("result")


def execute(argv, stdin="", within_s=60):
    done = subprocess.run(argv, input=stdin.encode(), capture_output=True, timeout=within_s)
    text = lambda data: data.decode(errors="replace")
    return {"code": done.returncode, "stdout": text(done.stdout), "stderr": text(done.stderr)}


def program(path, environment, within_s, folders=()):
    """Runs a Python program in a copy of this warm process, as nobody, in a folder of its own."""
    os.makedirs(WORK, exist_ok=True)
    os.chown(WORK, NOBODY, NOBODY)
    # In memory: the writable layer may be full.
    with open(os.memfd_create("printed"), "rb+") as printed, open(os.memfd_create("log"), "rb+") as log:
        child = os.fork()
        if child == 0:
            become(path, environment, folders, printed.fileno(), log.fileno())
        end = time.monotonic() + within_s
        while (ended := os.wait4(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                end_programs()
                return {"late": True, "full": is_full()}
            time.sleep(0.005)
        end_programs()
        _, status, usage = ended
        printed.seek(0)
        log.seek(max(0, os.fstat(log.fileno()).st_size - LOG))
        return {
            "code": os.waitstatus_to_exitcode(status),
            "stdout": printed.read().decode(errors="replace"),
            "stderr": log.read().decode(errors="replace"),
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "full": is_full(),
        }


def become(path, environment, folders, stdout, stderr):
    """In the new process: never returns."""
    code = 1
    try:
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        for number, file in enumerate((null, stdout, stderr)):
            os.dup2(file, number)
        os.closerange(3, 256)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.chdir(WORK)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv[:] = [path]
        sys.path[:0] = [os.path.dirname(path), *folders]
        sys.dont_write_bytecode = True
        # Lines reach the file as they are written, whatever this process was started with.
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode, buffering=1) for number, mode in enumerate("rww"))
        random.seed()
        runpy.run_path(path, run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # whatever it is, this copy must not go on as its original
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def end_programs():
    """Ends every process of programs, whatever they forked, and takes their ends; what else has ended, too."""
    while any([end_program(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]):
        time.sleep(0.001)


def end_program(name):
    """Whether it is there: until its end was taken, it is."""
    try:
        if os.stat(f"/proc/{name}").st_uid != NOBODY:
            return False
        os.kill(int(name), signal.SIGKILL)
        os.waitpid(-1, os.WNOHANG)
    except OSError:  # it has ended, or is nobody's child yet
        pass
    return True


def browser(argv, environment):
    """Starts a browser that is called over a pipe, warms it up, and lets the host call it over the second port.

    A process of its own stands between: it starts the browser again when that ends, and tells the host."""
    (name,) = glob.glob("/dev/vport*p2")
    heard, told = os.pipe()
    if os.fork() == 0:
        try:
            os.close(heard)
            stand_between(os.open(name, os.O_RDWR), argv, environment, told)
        except BaseException:  # whatever it is, this copy must not go on as its original
            os.write(told, traceback.format_exc().encode())
        finally:
            os._exit(1)
    os.close(told)
    with os.fdopen(heard) as lines:
        said = lines.read()
    if said != "warm":
        raise RuntimeError(f"the browser did not start: {said}")
    return ping()


def stand_between(port, argv, environment, told):
    while True:
        started, calls, answers = start_browser(argv, environment)
        if told is not None:
            warm_up(calls, answers)
            os.write(told, b"warm")
            os.close(told)
            told = None
        carry(port, calls, answers)
        os.close(calls)
        os.close(answers)
        started.kill()
        started.wait()
        send(port, b'{"method": "Trenvx.browserEnded"}\0')


def start_browser(argv, environment):
    """The browser, what it reads calls from, and what it writes answers to: its descriptors 3 and 4."""
    their_calls, calls = os.pipe()
    answers, their_answers = os.pipe()
    # A shell gets them to their numbers. By path, as it copies only descriptors of one digit.
    own = "/proc/self/fd"
    script = f'exec "$0" "$@" 3<{own}/{their_calls} 4>{own}/{their_answers} </dev/null >/dev/null 2>&1'
    started = subprocess.Popen(
        ["/bin/sh", "-c", script, *argv], env=environment, pass_fds=(their_calls, their_answers), cwd="/"
    )
    os.close(their_calls)
    os.close(their_answers)
    return started, calls, answers


def warm_up(calls, answers):
    """Opens a page, does in it what agents do, and closes it."""
    number, pending = 0, b""

    def messages():
        nonlocal pending
        while True:
            while b"\0" in pending:
                message, pending = pending.split(b"\0", 1)
                yield json.loads(message)
            if not select.select([answers], [], [], STEP_S)[0]:
                raise TimeoutError(f"no answer within {STEP_S} s")
            piece = os.read(answers, PIECE)
            if not piece:
                raise RuntimeError("it ended")
            pending += piece

    def call(method, session=None, **parameters):
        nonlocal number
        number += 1
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        send(calls, json.dumps(message).encode() + b"\0")
        for message in messages():
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    call("Browser.getVersion")
    call("Target.setDiscoverTargets", discover=True)
    context = call("Target.createBrowserContext", disposeOnDetach=True)["browserContextId"]
    target = call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
    page = call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    call("Inspector.enable", page)
    call("Page.enable", page)
    frame = call("Page.getFrameTree", page)["frameTree"]["frame"]["id"]
    call("Page.setDocumentContent", page, frameId=frame, html=PAGE)
    evaluate = lambda text: call("Runtime.evaluate", page, expression=text, returnByValue=True, awaitPromise=True)
    evaluate("document.querySelector('main').innerText")
    x, y = evaluate("(box => [box.x + 4, box.y + 4])(document.querySelector('button').getBoundingClientRect())")["result"]["value"]
    for kind in ("mousePressed", "mouseReleased"):
        call("Input.dispatchMouseEvent", page, type=kind, x=x, y=y, button="left", clickCount=1)
    for kind in ("keyDown", "keyUp"):
        call("Input.dispatchKeyEvent", page, type=kind, key="ArrowLeft", code="ArrowLeft")
    call("Page.captureScreenshot", page, format="png")
    call("Target.closeTarget", targetId=target)
    call("Target.disposeBrowserContext", browserContextId=context)


def carry(port, calls, answers):
    """Carries whole calls one way, and whatever the browser says the other, until it ends."""
    pending = b""
    while True:
        ready = select.select([port, answers], [], [])[0]
        if answers in ready:
            piece = os.read(answers, PIECE)
            if not piece:
                return
            send(port, piece)
        if port in ready:
            piece = os.read(port, 1 << 16)
            if not piece:  # nobody holds the other end
                time.sleep(0.01)
            pending += piece
            whole, end, rest = pending.rpartition(b"\0")
            pending = rest
            try:
                send(calls, whole + end)
            except BrokenPipeError:
                return


def is_full():
    return disk()["free_bytes"] == 0


def read(path, at=0, most=PIECE):
    with open(path, "rb") as file:
        file.seek(at)
        return base64.b64encode(file.read(most)).decode()


def scan(path, most=1 << 62):
    """Reads a file, from its beginning, through one small buffer and tells how much that was and its checksum."""
    buffer, total, checksum = bytearray(PIECE), 0, 0
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(memoryview(buffer)[:min(PIECE, most - total)]):
            total += count
            checksum = zlib.crc32(memoryview(buffer)[:count], checksum)
    return {"bytes": total, "crc32": checksum}


def write(path, data="", text=None):
    os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
    with open(path, "wb") as file:
        return file.write(base64.b64decode(data) if text is None else text.encode())


def fill(path, size):
    """Writes so many bytes that do not compress."""
    left = size
    with open(path, "wb", buffering=0) as file:
        while left:
            left -= file.write(random.randbytes(min(left, PIECE)))
    return {"bytes": size}


def leave(size):
    """Fills the writable layer until so many bytes are left."""
    free = disk()["free_bytes"]
    return fill("/tmp/filled", max(free - size, 0))


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")
    return meminfo()


def disk():
    """Room on the writable layer."""
    state = os.statvfs("/")
    return {"bytes": state.f_blocks * state.f_frsize, "free_bytes": state.f_bavail * state.f_frsize}


def settle():
    """What is over is given back before the template is taken."""
    gc.collect()
    gc.freeze()
    ctypes.CDLL(None).malloc_trim(0)
    drop_caches()
    return ping()


def panic():
    with open("/proc/sys/kernel/sysrq", "w") as file:
        file.write("1")
    with open("/proc/sysrq-trigger", "w") as file:
        file.write("c")


ACTIONS = {
    "ping": ping,
    "wake": wake,
    "run": run,
    "exec": execute,
    "program": program,
    "browser": browser,
    "read": read,
    "scan": scan,
    "write": write,
    "fill": fill,
    "leave": leave,
    "meminfo": meminfo,
    "drop-caches": drop_caches,
    "disk": disk,
    "settle": settle,
    "panic": panic,
}


def answer(line):
    global SERVED
    request = {}
    try:
        request = json.loads(line)
        arguments = request["input"]
        action = ACTIONS[arguments.pop("action")]
        number, output = request["id"], action(**arguments)
        if output is None:  # a clone's first answer: without the encoder, for the reason that `wake` has
            reply = f'{{"id": {number}, "ok": true, "output": null}}'
        else:
            reply = json.dumps({"id": number, "ok": True, "output": output})
    except OSError as error:
        name = f"{type(error).__name__}: {error}"
        reply = json.dumps({"id": request.get("id"), "ok": False, "error": name, "errno": error.errno})
    except Exception as error:  # whatever a request does, the next one is served
        name = f"{type(error).__name__}: {error}"
        reply = json.dumps({"id": request.get("id"), "ok": False, "error": name})
    SERVED += 1
    return reply.encode() + b"\n"


def send(port, data):
    data = memoryview(data)
    while data:
        data = data[os.write(port, data):]


def serve(port):
    pending = b""
    while True:
        piece = os.read(port, 1 << 16)
        if not piece:  # nobody holds the other end
            time.sleep(0.01)
            continue
        pending += piece
        while b"\n" in pending:
            line, pending = pending.split(b"\n", 1)
            send(port, answer(line))


def main():
    os.environ.update(PATH="/usr/local/bin:/usr/bin:/bin", HOME="/root", LANG="C.UTF-8")
    # Process 1 is not to end: the kernel would panic.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hashlib.sha256(b"warm").hexdigest()
    (name,) = glob.glob("/dev/vport*p1")
    port = os.open(name, os.O_RDWR)
    send(port, b'{"ready": true, "python": "%s"}\n' % sys.version.split()[0].encode())
    serve(port)


if __name__ == "__main__":
    main()
