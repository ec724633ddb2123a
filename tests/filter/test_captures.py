"""Filters on captures: what they find, and that what they leave out still changes the state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftools.filter import compile_filter
from sftools.scap.event_table import EVENTS

STORY = Path(__file__).parents[1] / "fixtures" / "webshell.scap"
SHARED = Path(__file__).parents[3] / "shared" / "traces" / "recorded"

Matching = Callable[[Path, str], list[str]]


@pytest.fixture
def matching(run_capture: Any) -> Matching:
    """`tid event` of each event of a capture for which a filter is true, in order."""

    def run(path: Path, text: str) -> list[str]:
        predicate = compile_filter(text)
        found: list[str] = []

        def note(engine: Any) -> bool:
            passes = predicate(engine)
            if passes:
                found.append(f"{engine.thread.tid} {EVENTS[engine.cursor.type].name}")
            return passes

        run_capture(path, note)
        return found

    return run


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("evt.type = execve", ["1311 execve", "1312 execve", "1313 execve"]),
        ("evt.type = execve and proc.aname = apache2 and proc.pname = sh", ["1312 execve", "1313 execve"]),
        ("evt.type = execve and proc.cmdline contains 'curl -s'", ["1311 execve", "1313 execve"]),
        ("evt.type = openat and fd.name = /etc/passwd", ["1312 openat"]),
        ("evt.is_open_write = true and fd.directory = /tmp", ["1312 openat"]),
        ("evt.type = read and fd.filename = passwd and evt.rawres > 0", ["1312 read"]),
        ("evt.type = connect", ["1313 connect"]),
        ("evt.type = connect and evt.res = EINPROGRESS and fd.sport = 8443", ["1313 connect"]),
        ("fd.sip = 203.0.113.0/24 and evt.is_io_write = true", ["1313 sendto", "1313 sendto"]),
        ("fd.name startswith '10.0.0.7:38022->203.0.113.66' and evt.is_io_read = true", ["1313 recvfrom"]),
        ("fd.is_server = true and fd.cip = 203.0.113.66 and evt.type in (read, writev)", ["1207 read", "1207 writev"]),
        ("evt.type in (unlink, connect) and container.id = 3f1c5a0e9d7b", ["1313 connect", "1311 unlink"]),
        ("evt.type = connect and k8s.ns.name = prod and container.image.tag = 2.4", ["1313 connect"]),
        ("evt.type = connect and user.uid = 33 and container.type = containerd", ["1313 connect"]),
        ("evt.type = procexit and proc.apid = 1207", ["1312 procexit", "1313 procexit", "1311 procexit"]),
        ("container.id = host", []),
    ],
)
def test_the_story_of_the_web_shell(matching: Matching, text: str, found: list[str]) -> None:
    assert matching(STORY, text) == found


RECORDED = [
    ("sockets", "fd.type in (ipv4, ipv6) and evt.type != close"),
    ("sockets", "proc.aname[0] = python3 and fd.rport > 0 and fd.is_server = false"),
    ("namespaces", "container.id = host and proc.vpid < 10"),
    ("threads", "thread.ismain = true and fd.name pmatch (/usr, /etc)"),
    ("ipv6", "fd.net = ::1/128"),
]


@pytest.mark.parametrize(("name", "text"), RECORDED)
def test_a_filter_and_its_opposite_divide_a_recording(matching: Matching, name: str, text: str) -> None:
    capture = SHARED / f"{name}.scap"
    if not capture.exists():
        pytest.skip("needs ../shared")
    every = matching(capture, "evt.num > 0")
    chosen = matching(capture, text)
    rest = matching(capture, f"not ({text})")
    assert chosen
    assert rest
    assert sorted(chosen + rest) == sorted(every)


def test_ipv6_loopback_in_a_recording(matching: Matching) -> None:
    capture = SHARED / "ipv6.scap"
    if not capture.exists():
        pytest.skip("needs ../shared")
    by_address = matching(capture, "fd.sip = ::1")
    assert by_address == matching(capture, "fd.name contains '->::1:'")
    assert by_address
