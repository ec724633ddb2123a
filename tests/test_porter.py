"""Conversions as a library: several inputs, splitting, damage, what is counted."""

from __future__ import annotations

import contextlib
import errno
import gzip
import multiprocessing
import os
import signal
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import fastavro
import pytest

from sftools.avro.container import ContainerWriter
from sftools.avro.outputs import FileOutput
from sftools.engine.engine_cy import Engine
from sftools.engine.options import EngineOptions
from sftools.errors import EXIT_ERROR, InputError, OutputError, SftoolsError, UsageError
from sftools.porter import PorterOptions, Stats, check_distinct, find_captures, port, port_each, trace_name
from sftools.scap.scenario import build
from sftools.schema.versions import schema_json

ONE = build("""
host alpha
process 10 comm=cat exe=/bin/cat
fd 10 3 file /srv/one flags=O_RDONLY
+ 10 read fd=3 size=5 res=5 data="hello"
+ 10 close fd=3 res=0
""")
OTHER = build("""
host beta
process 10 comm=ls exe=/bin/ls
fd 10 3 file /srv/other flags=O_RDONLY
+ 10 read fd=3 size=5 res=5 data="hello"
""")
THREE_MINUTES = build(
    """
start 2024-05-01T10:00:00Z
process 10 comm=tail exe=/usr/bin/tail
fd 10 3 file /srv/log flags=O_RDONLY
"""
    + "+20s 10 read fd=3 size=1 res=1 data=a\n" * 8
)
IPV6 = build("""
process 10 comm=curl exe=/usr/bin/curl
fd 10 3 tcp [2001:db8::1]:5000->[2001:db8::2]:80
+ 10 write fd=3 size=1 res=1 data="a"
+ 10 close fd=3 res=0
""")
DAMAGED = build("""
process 10 comm=cat exe=/bin/cat
fd 10 3 file /srv/one flags=O_RDONLY
+ 10 read fd=3 size=5 res=5 data="hello"
bytes 00112233445566778899aabb
+ 10 read fd=3 size=5 res=5 data="hello"
+ 10 read fd=3 size=5 res=5 data="hello"
+ 10 close fd=3 res=0
""")


@pytest.fixture
def captures(tmp_path, monkeypatch):
    """The captures above as files; the working directory is theirs."""
    monkeypatch.chdir(tmp_path)
    named = {"one": ONE, "other": OTHER, "minutes": THREE_MINUTES, "ipv6": IPV6, "damaged": DAMAGED}
    for name, data in named.items():
        (tmp_path / f"{name}.scap").write_bytes(data)


def container(schema: int = 5):
    return partial(ContainerWriter, schema=schema_json(schema))


def file_output(path: str, schema: int = 5) -> FileOutput:
    return FileOutput(lambda second: path, container(schema))


def split_output(prefix: str) -> FileOutput:
    return FileOutput(lambda second: f"{prefix}{second}", container(), splits=True)


def records(path: str | Path) -> list[tuple[str, dict]]:
    with open(path, "rb") as file:
        return [row["rec"] for row in fastavro.reader(file, return_record_name=True)]


def names(path: str | Path) -> list[str]:
    return [name.rpartition(".")[2] for name, _ in records(path)]


def header(path: str | Path) -> dict:
    name, first = records(path)[0]
    assert name.endswith("SFHeader")
    return first


def bodies(path: str | Path, kind: str) -> list[dict]:
    return [body for name, body in records(path) if name.endswith("." + kind)]


# -- one trace


@pytest.mark.usefixtures("captures")
def test_header():
    port(["one.scap"], file_output("x.sf"), PorterOptions())
    assert header("x.sf") == {"version": 5, "exporter": "alpha", "ip": "", "filename": "x.sf"}
    port(["one.scap"], file_output("y.sf", 6), PorterOptions(exporter="me", node_ip="10.1.2.3", schema=6))
    assert header("y.sf") == {"version": 6, "exporter": "me", "ip": "10.1.2.3", "filename": "y.sf"}


@pytest.mark.usefixtures("captures")
def test_several_inputs_are_one_trace_in_their_order():
    stats = port(["other.scap", "one.scap"], file_output("x.sf"), PorterOptions())
    assert names("x.sf").count("SFHeader") == 1
    assert header("x.sf")["exporter"] == "beta"
    assert [file["path"] for file in bodies("x.sf", "File")] == ["/srv/other", "/srv/one"]
    assert [process["exe"] for process in bodies("x.sf", "Process")] == ["/bin/ls", "/bin/cat"]
    assert stats.inputs == 2


@pytest.mark.usefixtures("captures")
def test_stats():
    packed = gzip.compress(ONE)
    Path("one.scap.gz").write_bytes(packed)
    stats = port(["one.scap.gz"], file_output("x.sf"), PorterOptions())
    assert stats.events == 4
    assert stats.records == {"SFHeader": 1, "Process": 1, "File": 1, "FileFlow": 1}
    assert (stats.bytes_stored, stats.bytes_in) == (len(packed), len(ONE))
    assert stats.bytes_out == os.path.getsize("x.sf")
    assert stats.paths == ["x.sf"]
    assert stats.damaged == stats.unknown_types == stats.unknown_threads == stats.left_out == stats.ipv6_left_out == 0
    assert stats.seconds > 0
    assert stats.tables["threads"] == 1


def test_stats_add_up():
    total = Stats(inputs=1, events=5, records={"File": 1}, damage=["a"], paths=["x"])
    total.add(Stats(inputs=2, events=7, records={"File": 2, "Pod": 1}, damage=["b"], paths=["y"]))
    assert total == Stats(inputs=3, events=12, records={"File": 3, "Pod": 1}, damage=["a", "b"], paths=["x", "y"])


@pytest.mark.usefixtures("captures")
def test_ipv6_needs_schema_6():
    stats = port(["ipv6.scap"], file_output("5.sf"), PorterOptions())
    assert stats.ipv6_left_out == 1
    assert not bodies("5.sf", "NetworkFlow")
    stats = port(["ipv6.scap"], file_output("6.sf", 6), PorterOptions(schema=6))
    assert stats.ipv6_left_out == 0
    assert len(bodies("6.sf", "NetworkFlow")) == 1


@pytest.mark.usefixtures("captures")
def test_progress(monkeypatch):
    monkeypatch.setattr("sftools.porter._SLICE", 3)
    calls = []
    port(["one.scap", "other.scap"], file_output("x.sf"), PorterOptions(), lambda *call: calls.append(call))
    assert calls == [("one.scap", len(ONE), len(ONE), 3)], "four events, then two"


# -- splitting


@pytest.mark.usefixtures("captures")
def test_rotation_is_by_capture_time():
    stats = port(["minutes.scap"], split_output("x."), PorterOptions(EngineOptions(rotate_seconds=60)))
    start = 1714557600  # 2024-05-01T10:00:00Z
    assert sorted(stats.paths) == sorted(str(path) for path in Path().glob("x.*"))
    assert len(stats.paths) == 3
    for i, path in enumerate(stats.paths):
        assert int(path.removeprefix("x.")) == start + 20 + 60 * i
        assert header(path)["filename"] == path
        assert header(path)["exporter"] == header(stats.paths[0])["exporter"]
        assert {"Process", "File", "FileFlow"} <= set(names(path)), "each part stands alone"


@pytest.mark.usefixtures("captures")
def test_rotation_needs_files():
    with pytest.raises(UsageError, match="-G"):
        port(["minutes.scap"], file_output("x.sf"), PorterOptions(EngineOptions(rotate_seconds=60)))


# -- damage and errors


@pytest.mark.usefixtures("captures")
def test_damage_is_passed_over_and_told():
    stats = port(["damaged.scap"], file_output("x.sf"), PorterOptions())
    assert stats.damaged == len(stats.damage) == 1
    assert stats.damage[0].startswith("damaged.scap at offset ")
    (flow,) = bodies("x.sf", "FileFlow")
    assert flow["numRRecvOps"] == 3


@pytest.mark.usefixtures("captures")
def test_strict_stops_at_damage_and_leaves_nothing():
    with pytest.raises(InputError, match=r"^damaged.scap at offset \d+: "):
        port(["damaged.scap"], file_output("x.sf"), PorterOptions(strict=True))
    assert not list(Path().glob(".x*")) + list(Path().glob("x*"))


@pytest.mark.usefixtures("captures")
@pytest.mark.parametrize("name", ["damaged.scap", "one.scap"])
def test_the_state_is_forgotten_however_it_ends(monkeypatch, name):
    """Its cycles are not collected: what is not forgotten stays in memory until the program ends."""
    engines = []

    def made(*arguments):
        engines.append(Engine(*arguments))
        return engines[-1]

    monkeypatch.setattr("sftools.porter.Engine", made)
    with contextlib.suppress(InputError):
        port([name], file_output("x.sf"), PorterOptions(strict=True))
    (engine,) = engines
    assert engine.cursor.events > 0
    assert (len(engine.threads.by_tid), len(engine.threads.groups), engine.flows.open) == (0, 0, 0)


@pytest.mark.usefixtures("captures")
def test_cut_compressed_input():
    packed = gzip.compress(DAMAGED.replace(bytes.fromhex("00112233445566778899aabb"), b""))
    Path("x.gz").write_bytes(packed[:-12])
    stats = port(["x.gz"], file_output("x.sf"), PorterOptions())
    assert stats.damaged == 1
    assert "the gzip data is cut" in stats.damage[0]
    assert stats.events > 0
    with pytest.raises(InputError, match="the gzip data is cut"):
        port(["x.gz"], file_output("y.sf"), PorterOptions(strict=True))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (gzip.compress(b""), "is empty"),
        (gzip.compress(ONE)[:15], "the gzip data is cut"),
        (b"hello, world, this is no capture", "is not a scap capture"),
        (ONE[:28], "has no block of a scap capture"),
        # a pcapng file: section header, interface description
        (ONE[:28] + bytes.fromhex("01000000 14000000 01000000 00000000 14000000"), "network capture"),
    ],
    ids=["empty", "empty gzip", "cut at once", "text", "only a section header", "pcapng"],
)
def test_no_capture(tmp_path, data, message):
    path = tmp_path / "x.scap"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        port([str(path)], file_output(str(tmp_path / "x.sf")), PorterOptions())
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}")
    assert os.listdir(tmp_path) == ["x.scap"]


@pytest.mark.usefixtures("captures")
def test_whatever_is_raised_leaves_no_output():
    class Stop(BaseException):
        pass

    def predicate(engine):
        raise Stop

    with pytest.raises(Stop):
        port(["one.scap"], file_output("x.sf"), PorterOptions(EngineOptions(predicate=predicate)))
    assert sorted(os.listdir()) == ["damaged.scap", "ipv6.scap", "minutes.scap", "one.scap", "other.scap"]


# -- one trace each


@pytest.mark.usefixtures("captures")
@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_each_input_its_own_trace(jobs):
    Path("bad.scap").write_bytes(b"x" * 100)
    inputs = ["one.scap", "bad.scap", "other.scap", "missing.scap"]
    outcomes = {
        outcome.path: outcome
        for outcome in port_each([(path, file_output(trace_name(path))) for path in inputs], PorterOptions(), jobs)
    }
    assert sorted(outcomes) == sorted(inputs)
    for path in ("one.scap", "other.scap"):
        assert outcomes[path].error is None
        assert outcomes[path].stats.paths == [trace_name(path)]
        assert names(trace_name(path))[0] == "SFHeader"
    assert str(outcomes["missing.scap"].error) == "missing.scap: does not exist"
    assert outcomes["bad.scap"].error.exit_code == EXIT_ERROR
    assert not os.path.exists("bad.sf")


@pytest.mark.usefixtures("captures")
def test_process_that_dies():
    def die(engine):
        os.kill(os.getpid(), signal.SIGKILL)

    pairs = [(path, file_output(trace_name(path))) for path in ("one.scap", "other.scap")]
    outcomes = list(port_each(pairs, PorterOptions(EngineOptions(predicate=die)), 2))
    assert ["died (exit code -9)" in str(outcome.error) for outcome in outcomes] == [True, True]


# -- names


def test_find_captures_in_directories_and_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("d/sub.scap")
    for name in ("x.scap10", "x.scap2", "x.scap.gz", "a.scap", "a.scap.sf", ".hidden.scap", "notes.txt"):
        Path("d", name).touch()
    assert find_captures(["d"]) == ["d/a.scap", "d/x.scap2", "d/x.scap10", "d/x.scap.gz"]
    assert find_captures(["d/x*", "-", "d/notes.txt", "missing"]) == [
        "d/x.scap2", "d/x.scap10", "d/x.scap.gz", "-", "d/notes.txt", "missing",
    ]  # fmt: skip
    with pytest.raises(InputError, match="matches no file"):
        find_captures(["d/y*"])
    with pytest.raises(InputError, match="has no capture in it"):
        find_captures(["d/sub.scap"])
    Path("[odd].scap").touch()
    assert find_captures(["[odd].scap"]) == ["[odd].scap"]


@pytest.mark.parametrize(
    ("capture", "trace"),
    [
        ("/d/x.scap", "x.sf"),
        ("x.scap.gz", "x.sf"),
        ("x.scap.zst", "x.sf"),
        ("x.gz", "x.sf"),
        ("x.scap0", "x.scap0.sf"),
        ("x", "x.sf"),
        ("-", "stdin.sf"),
    ],
)
def test_trace_name(capture, trace):
    assert trace_name(capture) == trace


def test_two_inputs_may_not_become_one_file():
    with pytest.raises(OutputError, match=r"b/x.scap and a/x.scap would both become x.sf"):
        check_distinct(["a/x.scap", "b/x.scap"], ["x.sf", "x.sf"])


@pytest.mark.usefixtures("captures")
def test_fewer_processes_where_the_system_allows_no_more(monkeypatch):
    start = BaseProcess.start

    def only_one(process):
        if len(multiprocessing.active_children()) >= 1:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        start(process)

    monkeypatch.setattr(BaseProcess, "start", only_one)
    pairs = [(path, file_output(trace_name(path))) for path in ("one.scap", "other.scap")]
    assert [outcome.error for outcome in port_each(pairs, PorterOptions(), 2)] == [None, None]


@pytest.mark.usefixtures("captures")
def test_no_process_at_all(monkeypatch):
    def none(process):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(BaseProcess, "start", none)
    pairs = [(path, file_output(trace_name(path))) for path in ("one.scap", "other.scap")]
    with pytest.raises(SftoolsError, match="cannot start a process: Resource"):
        list(port_each(pairs, PorterOptions(), 2))
