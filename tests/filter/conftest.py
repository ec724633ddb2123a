"""An engine made by hand, as far as filters look at one, and captures run with a predicate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sftools.engine.state_cy import ROLE_CLIENT
from sftools.engine.users import Users
from sftools.scap import tables
from sftools.scap.fd_types import FD_FILE_V2, FD_IPV4_SOCK, L4_TCP

FIXTURES = Path(__file__).parents[1] / "fixtures"
SHARED = Path(__file__).parents[3] / "shared" / "traces"

MakeThread = Callable[..., Any]
MakeEngine = Callable[..., Any]


@pytest.fixture
def make_thread() -> MakeThread:
    """A thread alone in its process; keywords replace its attributes."""

    def make(**changes: Any) -> Any:
        thread = SimpleNamespace(
            tid=100, pid=100, ptid=1, vtid=100, vpid=100, sid=100, vpgid=100, flags=0, uid=0, gid=0,
            user=b"root", group_name=b"wheel", loginuid=1000, tty=34816,
            comm=b"bash", exe=b"-bash", exepath=b"/usr/bin/bash", args=b"-c\0echo a\0", env=b"HOME=/root\0LANG=C\0",
            cgroups=b"cpu=/\0memory=/x\0", clone_ts=0, container=None, dead=False,
        )  # fmt: skip
        thread.group = SimpleNamespace(leader=thread, alive=1, cwd=b"/root/", fds=SimpleNamespace(count=3))
        vars(thread).update(changes)
        return thread

    return make


@pytest.fixture
def make_engine(make_thread: MakeThread) -> MakeEngine:
    """An engine at an event: by default openat of /etc/passwd by bash, child of sshd (10), child of init (1)."""

    def make(event: str = "PPME_SYSCALL_OPENAT_2_X", thread: Any = None, threads: Any = (), **changes: Any) -> Any:
        init = make_thread(
            tid=1, pid=1, ptid=0, vpid=1, comm=b"init", exe=b"/sbin/init", exepath=b"/sbin/init", args=b""
        )
        sshd = make_thread(
            tid=10, pid=10, ptid=1, vpid=10, comm=b"sshd", exe=b"sshd", exepath=b"/usr/sbin/sshd", args=b"-D\0"
        )
        thread = thread or make_thread(ptid=10)
        users = Users()
        users.add_user(b"", 1000, b"alice")
        engine = SimpleNamespace(
            thread=thread,
            threads=SimpleNamespace(by_tid={t.tid: t for t in (init, sshd, thread, *threads)}),
            users=users,
            info=file_fd(),
            fd=3,
            res=3,
            ts=1_709_211_959_000_000_001,
            cursor=SimpleNamespace(type=getattr(tables, event), events=7, cpuid=2),
        )
        vars(engine).update(changes)
        return engine

    return make


def file_fd(**changes: Any) -> Any:
    """An fd of /etc/passwd, open for reading; keywords replace attributes."""
    info = SimpleNamespace(
        type=FD_FILE_V2, name=b"/etc/passwd", openflags=tables.PPM_O_RDONLY, role=0, l4proto=0,
        sip=0, dip=0, sport=0, dport=0, sip6=None, dip6=None,
    )  # fmt: skip
    vars(info).update(changes)
    return info


def ip4(text: str) -> int:
    """An IPv4 address as FdInfo has it."""
    return int.from_bytes(bytes(map(int, text.split("."))), "little")


def tcp_fd(**changes: Any) -> Any:
    """A client's connection 10.0.0.1:40000->93.184.216.34:443; keywords replace attributes."""
    return file_fd(
        **{
            "type": FD_IPV4_SOCK, "name": b"", "role": ROLE_CLIENT, "l4proto": L4_TCP,
            "sip": ip4("10.0.0.1"), "sport": 40000, "dip": ip4("93.184.216.34"), "dport": 443, **changes,
        }
    )  # fmt: skip


@pytest.fixture
def fds() -> Any:
    """The two makers of fds."""
    return SimpleNamespace(file=file_fd, tcp=tcp_fd, ip4=ip4)


@pytest.fixture
def run_capture() -> Callable[[Path, Callable[[Any], bool]], Any]:
    """Runs an engine over a capture with a predicate, everything else switched on; gives the engine."""

    def run(path: Path, predicate: Callable[[Any], bool]) -> Any:
        from sftools.avro.encoder_cy import Encoder
        from sftools.engine.engine_cy import Engine
        from sftools.engine.options import EngineOptions
        from sftools.scap.events_cy import EventCursor

        options = EngineOptions(file_only=False, file_read_mode=0, proc_flow=False, predicate=predicate)
        encoder = Encoder(lambda block, count: None, 5)
        engine = Engine(encoder, options, lambda host: encoder.header(5, b"test", b"", b"capture"))
        with path.open("rb", buffering=0) as source:
            engine.run(EventCursor(source, str(path)))
            engine.finish()
        return engine

    return run


# What cannot be read at all is not for filters.
_CAPTURES = sorted(path for path in FIXTURES.glob("*.scap") if path.name != "byte-swapped.scap") + [
    SHARED / name for name in ("recorded/sockets.scap", "recorded/container.scap", "collector/setuid-setuid.scap")
]


@pytest.fixture(params=_CAPTURES, ids=lambda path: path.stem)
def capture(request: pytest.FixtureRequest) -> Path:
    """Every capture of the project, and some of ../shared where it is there."""
    path: Path = request.param
    if not path.exists():
        pytest.skip(f"needs {path.name}")
    return path
