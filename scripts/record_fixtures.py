"""Records tests/fixtures/recorded: of each workload of tests/live/workloads.py a raw capture, NAME.scap, and NAME.json:
what the workload's own log and, in another run, strace say that it did. Needs root, `make probe` and strace.

    scripts/record_fixtures.py            all workloads
    scripts/record_fixtures.py tcp udp    some

What is recorded shows nothing of the machine that is not the workload's: that runs in /srv/demo, on a host of that name
with a loopback interface and two users, in the root cgroups, with PATH and LC_ALL as its environment; sysporter sees a
/proc where it is the only process. That is checked (leaks). Nothing of it is left behind: all is mounted in namespaces
of its own.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sftools.scap import blocks, lists  # noqa: E402
from sftools.tools import sysporter  # noqa: E402
from tests.live import tracing, workloads  # noqa: E402

RECORDED = ROOT / "tests" / "fixtures" / "recorded"
HOST = "demo"
HOME = Path("/srv/demo")
WORK = HOME / "files"
SCRIPT, LOG = HOME / "workloads.py", HOME / "log.json"
# Debian's, whose path is that of many machines.
PYTHON = "/usr/bin/python3"
# Without LC_ALL Python gives what it starts an LC_CTYPE.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
USERS = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndemo:x:1000:1000::/home/demo:/bin/sh\n",
    "/etc/group": "root:x:0:\ndemo:x:1000:\n",
}
# What sysporter reads of /proc beside its processes.
PROC_FILES = ("self", "stat", "meminfo", "sys")
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
# In a capture: what looks like a path, and what every machine has or the neutral host.
PATHS = re.compile(rb"(?<![\w./])/\w[\w./-]{4,}")
EXPECTED_PATHS = re.compile(
    rb"/srv/demo/(files|log\.json|workloads\.py)|(/usr)?/(bin|lib)\b|/etc/ld\.so\.cache$|/root$|/home/demo$|/proc/self/"
    rb"|/dev/(null|fd/\d+)$"
)

libc = ctypes.CDLL(None, use_errno=True)


class NotRecorded(Exception):
    """What is in the way, in a line."""


# -- a neutral host


def check(result: int, what: str) -> None:
    if result != 0:
        raise NotRecorded(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: str, kind: str, flags: int = 0) -> None:
    check(libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None), f"mount {target}")


def neutral_host() -> None:
    """Makes this process's surroundings those of a small host, for it and its children alone."""
    leave_cgroups()
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET), "unshare")
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    socket.sethostname(HOST)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    mount("tmpfs", "/srv", "tmpfs")
    for number, (path, text) in enumerate(USERS.items()):
        Path(f"/srv/{number}").write_text(text)
        mount(f"/srv/{number}", path, "", MS_BIND)
    HOME.mkdir()
    shutil.copy(workloads.__file__, SCRIPT)


def leave_cgroups() -> None:
    """Events have the path of a cgroup from the root of its hierarchy, whatever the namespace."""

    def elsewhere() -> list[list[str]]:
        found = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        return [entry for entry in found if entry[2] != "/"]

    for _, names, _ in elsewhere():
        for hierarchy in (names.removeprefix("name="), "unified", "."):
            members = Path("/sys/fs/cgroup", hierarchy, "cgroup.procs")
            if members.exists():
                members.write_text("0")
                break
    if left := elsewhere():
        raise NotRecorded(f"not in the root cgroup of {left[0][1] or 'v2'}")


def only(pid: int) -> None:
    """Gives the calling process, which is to become sysporter, a /proc with one process."""
    check(libc.unshare(CLONE_NEWNS), "unshare")
    Path("/srv/proc").mkdir(exist_ok=True)
    mount("proc", "/srv/proc", "proc")
    mount("tmpfs", "/proc", "tmpfs")
    for name in (str(pid), *PROC_FILES):
        os.symlink(f"/srv/proc/{name}", f"/proc/{name}")


# -- a workload and who watches it


@contextmanager
def waiting(name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A workload that has imported all it needs, and begins when its input has a line."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    command = [PYTHON, "-I", "-S", str(SCRIPT), name, str(LOG), "wait"]
    process = subprocess.Popen(
        command,
        cwd=WORK,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        try:
            assert process.stdout
            if process.stdout.readline() != b"ready\n":
                raise NotRecorded(f"{name}: does not begin")
            yield process
        finally:
            process.kill()


def run(process: subprocess.Popen[bytes]) -> None:
    process.communicate(b"\n")
    if process.returncode != 0:
        raise NotRecorded(f"the workload ends with {process.returncode}")


def capture(name: str) -> tuple[bytes, int]:
    """A raw capture of a workload, and the workload's pid."""
    with waiting(name) as process:
        command = [sys.executable, "-m", sysporter.__name__, "--raw", "-w", "-", "--pid", str(process.pid)]
        porter = subprocess.Popen(
            command,
            env={"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=partial(only, process.pid),
        )
        assert porter.stdout
        data = b""
        # The lists are there, nothing has happened: an event that tells the time is the first.
        while not any(kind == blocks.EV_V2 for kind, _ in blocks_of(data)):
            more = os.read(porter.stdout.fileno(), 1 << 20)
            if not more:
                raise NotRecorded(porter.communicate()[1].decode())
            data += more
        run(process)
        porter.send_signal(signal.SIGINT)
        rest, said = porter.communicate()
        if porter.returncode != 0 or said:
            raise NotRecorded(f"{name}: exit status {porter.returncode}: {said.decode()}")
        return data + rest, process.pid


def strace(name: str) -> tracing.Account:
    """What strace says that a workload did in its directory."""
    output = HOME / "strace"
    with waiting(name) as process:
        command = ["strace", *tracing.STRACE_OPTIONS, "-o", str(output), "-p", str(process.pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert tracer.stderr
        tracer.stderr.readline()  # Process ... attached
        run(process)
        tracer.communicate()
    found = tracing.account(output.read_text().splitlines(), str(WORK)).within(WORK)
    found.closes += tracing.CLOSED_BY_RANGE.get(name, Counter())
    return found


# -- what was recorded


def blocks_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each whole block."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if at + size > len(data):
            break
        yield kind, data[at + 8 : at + size - 4]
        at += size


def leaks(data: bytes, hostname: str, pid: int) -> list[str]:
    """What a capture has of the recording machine: other processes, paths, words of its configuration."""
    found = [f"process {entry.tid}" for entry in processes(data) if entry.pid != pid] + foreign_paths(data)
    words = {hostname, *os.environ.values(), *Path("/proc/cmdline").read_text().split()}
    words -= {*ENVIRONMENT.values(), "/root"}  # which passwd has
    return found + [word for word in sorted(words) if len(word) > 3 and word.encode() in data]


def foreign_paths(data: bytes) -> list[str]:
    """What looks like a path, and is none of the neutral host."""
    return [path.decode() for path in PATHS.findall(data) if not EXPECTED_PATHS.match(path)]


def processes(data: bytes) -> Iterator[lists.ProcessEntry]:
    for kind, body in blocks_of(data):
        if kind in blocks.PROCESS_LISTS:
            yield from lists.processes(kind, body)


def record(name: str, hostname: str) -> dict[str, bytes]:
    """The files of a workload, by name."""
    data, pid = capture(name)
    if found := leaks(data, hostname, pid):
        raise NotRecorded(f"{name}: the capture has of this machine: {', '.join(found)}")
    said: dict[str, Any] = {"log": json.loads(LOG.read_text())}
    said["strace"] = strace(name).as_json()
    return {f"{name}.scap": data, f"{name}.json": (json.dumps(said, indent=1, sort_keys=True) + "\n").encode()}


def main(arguments: list[str]) -> int:
    known = [workload.__name__ for workload in workloads.WORKLOADS]
    if not set(arguments) <= set(known):
        print(f"{__doc__}\nworkloads: {', '.join(known)}", file=sys.stderr)
        return 2
    hostname = socket.gethostname()
    try:
        neutral_host()
        files: dict[str, bytes] = {}
        for name in arguments or known:
            files |= record(name, hostname)
    except (NotRecorded, OSError) as error:
        print(f"record_fixtures: {error}", file=sys.stderr)
        return 1
    RECORDED.mkdir(exist_ok=True)
    for file, data in files.items():
        (RECORDED / file).write_bytes(data)
        print(f"wrote {(RECORDED / file).relative_to(ROOT)}, {len(data)} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
