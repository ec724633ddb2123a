"""--raw: what is recorded is what a live conversion reads, and other programs read it too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import sftools
from sftools.avro import outputs
from sftools.avro.container import ContainerWriter
from sftools.engine.options import EngineOptions
from sftools.live.loader import ProbeOptions
from sftools.live.session import SessionOptions, capture_session
from sftools.porter import PorterOptions, port
from sftools.schema.versions import schema_json
from sftools.source import Source
from sftools.tools import sysporter
from tests.conftest import short_directory
from tests.live.other_programs import assert_sysdig_agrees, assert_tshark_agrees

HERE = Path(__file__).parent
sys.path.append(str(HERE))

from tracing import EVERYTHING, Account, trace  # noqa: E402

pytestmark = pytest.mark.usefixtures("permitted")

PYTHON = os.path.realpath(sys.executable)


class Tee:
    """A capture that keeps what is read of it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.kept = bytearray()

    def readinto(self, room: memoryview) -> int:
        count = self.source.readinto(room)
        self.kept += room[:count]
        return count

    def read(self, size: int) -> bytes:
        room = bytearray(size)
        return bytes(room[: self.readinto(memoryview(room))])

    def close(self) -> None:
        """Nothing: the session closes the capture."""


def workload(name: str, directory: Path) -> list[str]:
    return [PYTHON, "-I", "-S", str(HERE / "workloads.py"), name, str(directory / "log")]


def convert(capture: Source | str, target: Path) -> list[dict[str, Any]]:
    """The records of a capture, without what its conversion adds."""
    options = PorterOptions(EngineOptions(file_only=False, file_read_mode=0, proc_flow=False), schema=6, strict=True)
    container = partial(ContainerWriter, schema=schema_json(6), codec="null")
    port([capture], outputs.FileOutput(lambda second: str(target), container), options)
    return [{key: value for key, value in dict(record).items() if key != "filename"} for record in sftools.open(target)]


@pytest.mark.parametrize("name", ["input_output", "processes", "tcp", "identities"])
def test_the_recorded_bytes_make_the_same_trace(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with capture_session(SessionOptions(ProbeOptions(), workload(name, tmp_path))) as session:
        tee = Tee(session.source)
        live = convert(Source(tee, "live", b"", None), tmp_path / "live.sf")
        assert session.status == 0
        assert session.statistics["ring_full"] == 0
    (tmp_path / "host.scap").write_bytes(tee.kept)
    assert convert(str(tmp_path / "host.scap"), tmp_path / "file.sf") == live
    assert len(live) > 50


def run(directory: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", sysporter.__name__, "-q", *arguments],
        cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["names", "unix"])
def test_raw_and_then_read_equals_live(name: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    run(work, *EVERYTHING, "-w", "../live.sf", "--", *workload(name, tmp_path))
    shutil.rmtree(work)
    work.mkdir()
    run(work, "--raw", "-w", "../host.scap", "--", *workload(name, tmp_path))
    run(work, *EVERYTHING, "-r", "../host.scap", "-w", "../raw.sf")
    live, raw = (trace(tmp_path / path).within(work) for path in ("live.sf", "raw.sf"))
    for field in fields(Account):
        assert getattr(live, field.name) == getattr(raw, field.name), field.name
    assert live.file_events or live.read


@pytest.fixture(scope="module")
def recorded(permitted: None) -> Iterator[Path]:
    """A capture of several workloads."""
    names = ("open_forms", "names", "input_output", "descriptors", "programs", "identities", "tcp", "udp", "unix")
    with short_directory() as directory:
        script = "; ".join(" ".join(workload(name, directory)) for name in names)
        (directory / "work").mkdir()
        run(directory / "work", "--raw", "-w", str(directory / "host.scap"), "--", "/bin/sh", "-c", script)
        yield directory / "host.scap"


def test_sysdig_reads_it_event_for_event(recorded: Path) -> None:
    if shutil.which("sysdig") is None:
        pytest.skip("sysdig is not installed")
    assert assert_sysdig_agrees(recorded) > 1000


def test_tshark_reads_it_event_for_event(recorded: Path) -> None:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    assert_tshark_agrees(recorded)
