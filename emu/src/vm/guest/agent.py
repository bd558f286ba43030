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

# What `run` works in, from request to request.
STATE = {}
SERVED = 0


def meminfo():
    with open("/proc/meminfo") as file:
        rows = (line.split() for line in file)
        return {row[0].rstrip(":"): int(row[1]) * (1024 if row[-1] == "kB" else 1) for row in rows}


def ping():
    return {"served": SERVED, "uptime_s": time.monotonic()}


def wake(unix_ns, entropy):
    """A clone is not its template: another time, other random numbers."""
    time.clock_settime_ns(time.CLOCK_REALTIME, unix_ns)
    seed = bytes.fromhex(entropy)
    with open("/dev/urandom", "wb", buffering=0) as pool:
        fcntl.ioctl(pool, RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
        fcntl.ioctl(pool, RNDRESEEDCRNG)
    random.seed(seed)
    return ping()


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
    """Ends every process of programs, whatever they forked, and takes their ends."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != 1:
            try:
                if os.stat(f"/proc/{name}").st_uid == NOBODY:
                    os.kill(int(name), signal.SIGKILL)
            except OSError:  # it has ended
                pass
    try:
        while os.waitpid(-1, 0):
            pass
    except ChildProcessError:
        pass


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
        said = {"id": request["id"], "ok": True, "output": action(**arguments)}
        reply = json.dumps(said)
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
