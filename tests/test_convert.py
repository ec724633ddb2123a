"""sftools.convert: a capture's records as a generator."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import sftools
from sftools.engine.engine_cy import Engine
from sftools.errors import InputError, UsageError
from sftools.reader import Record
from sftools.scap.scenario import build
from sftools.schema import opflags
from sftools.schema.sysflow import File, FileEvent, FileFlow, NetworkFlow, Process, ProcessEvent, SFHeader

FIXTURES = Path(__file__).parent / "fixtures"
STORY = """# a shell lists a directory, then makes one
host node-7
process 100 parent=1 comm=sh exe=/bin/sh exepath=/bin/sh
+ 100 openat dirfd=AT_FDCWD name=/srv/data flags=O_RDONLY fd=3 mode=0 dev=1 ino=1
+ 100 read fd=3 size=10 res=10 data="0123456789"
+ 100 close fd=3 res=0
+ 100 mkdirat dirfd=AT_FDCWD path=/srv/new mode=0 res=0
+ 100 procexit ret=0
"""


def many(times: int) -> bytes:
    """A capture in which a process opens and closes 200 times as many files."""
    start = "# many\nprocess 100 parent=1 comm=sh exe=/bin/sh exepath=/bin/sh\n"
    calls = "".join(
        f"+ 100 openat dirfd=AT_FDCWD name=/srv/{i} flags=O_RDONLY fd=3 mode=0 dev=1 ino=1\n+ 100 close fd=3 res=0\n"
        for i in range(200)
    )
    head, whole = build(start), build(start + calls)
    assert whole.startswith(head)
    return head + whole[len(head) :] * times


def capture(tmp_path: Path, text: str, name: str = "t.scap") -> str:
    path = tmp_path / name
    path.write_bytes(build(text))
    return str(path)


def shape(records: list[Record]) -> list[str]:
    return [type(record).__name__ for record in records]


def test_the_records_come_as_in_a_trace(tmp_path: Path) -> None:
    records = list(sftools.convert(capture(tmp_path, STORY)))
    assert shape(records) == [
        "SFHeader", "Process", "File", "FileFlow", "File", "FileEvent", "ProcessEvent",
    ]  # fmt: skip
    header, process, _, flow, directory, event, end = records
    assert isinstance(header, SFHeader)
    assert (header.version, header.exporter) == (6, "node-7")
    assert isinstance(process, Process)
    assert process.exe == "/bin/sh"
    assert isinstance(flow, FileFlow)
    assert (flow.procOID, flow.numRRecvBytes) == (process.oid, 10)
    assert isinstance(event, FileEvent)
    assert event.fileOID == getattr(directory, "oid", None)
    assert isinstance(end, ProcessEvent)
    assert end.opFlags == opflags.OP_EXIT


def test_every_record_stands_behind_its_entities() -> None:
    known: set[object] = set()
    for record in sftools.convert(FIXTURES / "webshell.scap", file_only=False, file_read_mode=0):
        if isinstance(record, Process):
            known.add((record.oid.hpid, record.oid.createTS))
        elif isinstance(record, File):
            known.add(record.oid)
        elif isinstance(record, ProcessEvent | FileEvent | FileFlow | NetworkFlow):
            assert (record.procOID.hpid, record.procOID.createTS) in known
            assert not isinstance(record, FileFlow | FileEvent) or record.fileOID in known


def test_options_are_those_of_sysporter(tmp_path: Path) -> None:
    path = capture(tmp_path, STORY)
    header = next(sftools.convert(path, exporter="me", node_ip="10.1.1.1", schema=5))
    assert header == SFHeader(5, "me", "10.1.1.1", "")
    assert "FileFlow" not in shape(list(sftools.convert(path, file_read_mode=1)))
    assert "FileEvent" not in shape(list(sftools.convert(path, mode="nofiles")))
    assert shape(list(sftools.convert(path, filter="evt.type = mkdirat")))[-1] == "FileEvent"
    assert shape(list(sftools.convert(path, container_only=True))) == ["SFHeader"]


def test_ipv6_flows_need_version_6() -> None:
    def flows(schema: int) -> list[NetworkFlow]:
        records = sftools.convert(FIXTURES / "ipv6.scap", schema=schema)
        return [record for record in records if isinstance(record, NetworkFlow)]

    assert [flow for flow in flows(6) if flow.sip6 is not None]
    assert [flow for flow in flows(6) if flow.sip6 is None] == flows(5)


@pytest.mark.parametrize("wrong", [{"mode": "all"}, {"file_read_mode": 3}, {"schema": 4}, {"filter": "proc.pid ="}])
def test_wrong_options_are_told_at_once(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        sftools.convert(capture(tmp_path, STORY), **wrong)  # type: ignore[arg-type]


def test_several_captures_are_one_trace(tmp_path: Path) -> None:
    first = capture(tmp_path, STORY, "1.scap")
    second = tmp_path / "2.scap.gz"
    second.write_bytes(gzip.compress(build(STORY.replace("/srv/", "/opt/"))))
    counts = Counter(shape(list(sftools.convert([first, second]))))
    assert (counts["SFHeader"], counts["FileEvent"], counts["FileFlow"]) == (1, 2, 2)


def test_damage_is_told_when_all_that_is_sound_was_given(tmp_path: Path) -> None:
    path = capture(tmp_path, STORY + "cut 3\n")
    records: list[Record] = []
    with pytest.raises(InputError, match="cut"):
        records.extend(sftools.convert(path))
    assert shape(records) == ["SFHeader", "Process", "File", "FileFlow", "File", "FileEvent"]


def test_damaged_compression_too(tmp_path: Path) -> None:
    path = tmp_path / "t.scap.gz"
    path.write_bytes(gzip.compress(build(STORY))[:-30])
    records: list[Record] = []
    with pytest.raises(InputError, match="gzip"):
        records.extend(sftools.convert(path))
    assert records


def test_what_is_no_capture(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("not a capture, not at all, not in the least")
    for path in (other, tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match=path.name):
            list(sftools.convert(path))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_closing_early_closes_the_capture(tmp_path: Path) -> None:
    path = tmp_path / "t.scap"
    path.write_bytes(many(20))
    before = open_files()
    records = sftools.convert(path)
    assert isinstance(next(records), SFHeader)
    assert open_files() > before
    records.close()
    assert open_files() == before


def test_the_state_is_forgotten_when_it_is_closed_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cycles are not collected: what is not forgotten stays in memory until the program ends."""
    engines: list[Any] = []

    def made(*arguments: Any) -> Any:
        engines.append(Engine(*arguments))
        return engines[-1]

    monkeypatch.setattr("sftools.libsysflow.Engine", made)
    path = tmp_path / "t.scap"
    path.write_bytes(many(20))
    records = sftools.convert(path)
    assert isinstance(next(records), SFHeader)
    (engine,) = engines
    assert len(engine.threads.by_tid) > 0
    records.close()
    assert (len(engine.threads.by_tid), len(engine.threads.groups), engine.flows.open) == (0, 0, 0)


def test_memory_does_not_grow_with_the_capture(tmp_path: Path) -> None:
    path = tmp_path / "t.scap"

    def peak(times: int) -> int:
        path.write_bytes(many(times))
        tracemalloc.start()
        assert sum(1 for _ in sftools.convert(path)) > 200 * times
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # what is loaded and cached once
    assert peak(60) < peak(20) * 1.2


def test_importing_sftools_imports_little() -> None:
    code = "import sftools, sys; print([m for m in sys.modules if m.startswith('sftools.') or m == 'fastavro'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "convert" in sftools.__all__
    with pytest.raises(AttributeError):
        sftools.nothing  # noqa: B018
