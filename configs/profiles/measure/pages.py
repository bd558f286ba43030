"""What another process's memory holds, and which pages of it a piece of work reads and writes.

Written: the pages are write-protected through the process's own userfaultfd (`hook.c`) in
asynchronous mode; the first store clears the mark, which /proc/PID/pagemap shows.
Read: /proc/PID/clear_refs clears the accessed bits, and smaps shows how many pages of each mapping
have been accessed since. The kernel gives no accessed bit per page; so pages of different groups
are kept in different mappings, by registering neighbours with different userfaultfds.

Needs root, x86-64 or arm64 with 4 KiB pages, and Linux 6.7 or later.
"""

import array
import ctypes
import fcntl
import mmap
import os
import re
import struct
from collections import Counter
from dataclasses import dataclass

PAGE = mmap.PAGESIZE
KIB_PER_PAGE = PAGE // 1024

# Bits of a /proc/PID/pagemap entry.
PRESENT, FILE_OR_SHARED, UFFD_WP = 1 << 63, 1 << 61, 1 << 57
FRAME = (1 << 55) - 1

# <linux/userfaultfd.h>
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_WRITEPROTECT = 0xC018AA3F, 0xC020AA00, 0xC018AA06
UFFD_API, FEATURE_WP_ASYNC = 0xAA, 1 << 15
REGISTER_MODE_WP, WRITEPROTECT_MODE_WP = 2, 1

SYS_PIDFD_GETFD = 438

HEADER = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ *(.*)$")


@dataclass
class Mapping:
    """One line of /proc/PID/maps, with the fields of smaps that matter here, in pages."""

    start: int
    end: int
    path: str
    anonymous: int = 0
    referenced: int = 0
    resident: int = 0

    @property
    def special(self):
        """The kernel's, or the measurement's: not part of any image."""
        return self.path.startswith(("[vvar", "[vdso", "[vsyscall")) or self.path.endswith("/hook.so")


def zero_frame():
    """The frame that all untouched, only read anonymous pages share."""
    with mmap.mmap(-1, PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as page:
        page[0]
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        return pagemap(os.getpid(), address, address + PAGE)[0] & FRAME


def pagemap(pid, start, end):
    """The pagemap entries of a range."""
    entries = array.array("Q")
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as file:
        file.seek(start // PAGE * 8)
        wanted = (end - start) // PAGE * 8
        while wanted:
            part = file.read(min(wanted, 1 << 20))
            if not part:
                break
            entries.frombytes(part)
            wanted -= len(part)
    return entries


class Observer:
    """Looks at one process that was started with `hook.c` preloaded."""

    def __init__(self, pid):
        self.pid = pid
        self.hooks = self._take_hooks()
        self.zero = zero_frame()

    def close(self):
        for hook in self.hooks:
            os.close(hook)

    def _take_hooks(self):
        folder = f"/proc/{self.pid}/fd"
        numbers = [int(n) for n in os.listdir(folder) if "userfaultfd" in os.readlink(f"{folder}/{n}")]
        libc = ctypes.CDLL(None, use_errno=True)
        pidfd = os.pidfd_open(self.pid)
        hooks = [libc.syscall(SYS_PIDFD_GETFD, pidfd, number, 0) for number in sorted(numbers)]
        os.close(pidfd)
        if len(hooks) != 2 or min(hooks) < 0:
            raise OSError(ctypes.get_errno(), "no userfaultfds in the process: hook not preloaded, or not root")
        for hook in hooks:
            fcntl.ioctl(hook, UFFDIO_API, struct.pack("QQQ", UFFD_API, FEATURE_WP_ASYNC, 0))
        return hooks

    def mappings(self):
        """All mappings but special ones."""
        found = []
        with open(f"/proc/{self.pid}/smaps") as file:
            for line in file:
                if header := HEADER.match(line):
                    start, end, _, path = header.groups()
                    found.append(Mapping(int(start, 16), int(end, 16), path))
                    continue
                key, _, value = line.partition(":")
                field = {"Anonymous": "anonymous", "Referenced": "referenced", "Rss": "resident"}.get(key)
                if field:
                    setattr(found[-1], field, int(value.split()[0]) // KIB_PER_PAGE)
        return [m for m in found if not m.special]

    def anonymous(self, mappings=None):
        """Addresses of resident anonymous pages (private copies of file pages too), in order,
        and whether each is still write-protected."""
        pages = {}
        for m in mappings or self.mappings():
            if m.anonymous == 0:
                continue
            for i, entry in enumerate(pagemap(self.pid, m.start, m.end)):
                if entry & PRESENT and not entry & FILE_OR_SHARED and entry & FRAME != self.zero:
                    pages[m.start + i * PAGE] = bool(entry & UFFD_WP)
        return pages

    def status(self, field):
        """A number of /proc/PID/status."""
        with open(f"/proc/{self.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))

    def _clear(self, what):
        with open(f"/proc/{self.pid}/clear_refs", "w") as file:
            file.write(what)

    def watch(self, group_of):
        """Starts to watch the pages of `group_of` (address to group)."""
        ends = {}  # Runs of neighbouring pages of one group in one mapping: start to end.
        bounds = {m.start for m in self.mappings()}
        previous = start = None
        for address in sorted(group_of):
            if address - PAGE != previous or address in bounds or group_of[address] != group_of[previous]:
                start = address
            ends[start] = address + PAGE
            previous = address
        for i, (start, end) in enumerate(ends.items()):
            hook, length = self.hooks[i % 2], end - start
            fcntl.ioctl(hook, UFFDIO_REGISTER, struct.pack("QQQQ", start, length, REGISTER_MODE_WP, 0))
            fcntl.ioctl(hook, UFFDIO_WRITEPROTECT, struct.pack("QQQ", start, length, WRITEPROTECT_MODE_WP))
        self._clear("5")  # Peak of resident memory.
        self._clear("1")  # Accessed bits.
        self.group_of = group_of
        self.before = resident(self.mappings())

    def report(self):
        """Pages read only and pages written since `watch`, by group; and by how many pages
        anonymous memory had grown at its peak."""
        mappings = self.mappings()
        written = Counter()
        for address, protected in self.anonymous(mappings).items():
            if not protected and address in self.group_of:
                written[self.group_of[address]] += 1
        touched = Counter()
        for m in mappings:
            if group := self.group_of.get(m.start):
                touched[group] += min(m.referenced, m.anonymous)
        read_only = {group: max(0, touched[group] - written[group]) for group in touched}

        anonymous, file = resident(mappings)
        peak = self.status("VmHWM") - self.status("VmRSS") + (anonymous + file) * KIB_PER_PAGE
        growth = peak // KIB_PER_PAGE - sum(self.before) - max(0, file - self.before[1])
        return read_only, written, max(0, growth)


def resident(mappings):
    """Resident pages: anonymous, of files."""
    anonymous = sum(m.anonymous for m in mappings)
    return anonymous, sum(m.resident for m in mappings) - anonymous
