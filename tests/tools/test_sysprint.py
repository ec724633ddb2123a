"""sysprint as a command: what it prints, where errors go, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sftools
from sftools.avro.container import ContainerWriter
from sftools.avro.encoder_cy import Encoder
from sftools.engine.engine_cy import Engine
from sftools.engine.options import EngineOptions
from sftools.scap.events_cy import EventCursor
from sftools.scap.source import open_source
from sftools.schema.versions import schema_json

FIXTURES = Path(__file__).parents[1] / "fixtures"


def sysprint(*arguments: object, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    code = "from sftools.tools.sysprint import main; main(prog_name='sysprint')"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, **variables},
    )


def make_trace(capture: Path, path: Path) -> Path:
    with path.open("wb") as file, open_source(str(capture)) as source:
        writer = ContainerWriter(file.write, schema_json(6))
        encoder = Encoder(writer.block, 6)
        engine = Engine(encoder, EngineOptions(), lambda host: encoder.header(6, host, b"", b"x"))
        engine.run(EventCursor(source, str(capture)))
        engine.finish()
        encoder.flush()
    return path


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("traces")
    names = ("webshell", "arbitrary-bytes", "ipv6", "minutes")
    return {name: make_trace(FIXTURES / f"{name}.scap", directory / f"{name}.sf") for name in names}


def test_the_table_tells_the_story(traces: dict[str, Path]) -> None:
    done = sysprint(traces["webshell"])
    assert (done.returncode, done.stderr) == (0, b"")
    titles, rule, *rows = done.stdout.decode().splitlines()
    assert " ".join(titles.split()) == "Start Time T Cmd Args PPID PID Op Flags Resource NoBRead NoBWrite Cont Name"
    assert set(rule) == {"-", " "}
    shell = next(row for row in rows if "EXEC" in row and "/usr/bin/dash" in row)
    assert "2024-05-01T10:00:04.302694" in shell
    assert "1207  1311" in shell
    sent = next(row for row in rows if "203.0.113.66:8443" in row and "NF" in row)
    assert "CWR   C" in sent
    assert sent.rstrip().endswith("shop")
    assert "UNLINK" in done.stdout.decode()


def test_json_is_a_document_a_line(traces: dict[str, Path]) -> None:
    done = sysprint("-o", "json", traces["webshell"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(sysprint(traces["webshell"]).stdout.splitlines()) - 2
    flow = next(row for row in rows if row["type"] == "NF" and row["net"]["dport"] == 8443)
    assert flow["proc"]["exe"] == "/usr/bin/curl"
    assert (flow["net"]["sip"], flow["net"]["dip"]) == ("10.0.0.7", "203.0.113.66")
    assert flow["flow"] == {"rbytes": 25, "rops": 1, "wbytes": 1333, "wops": 2}
    assert flow["container"]["image"] == "registry.example/shop:2.4"
    assert (flow["ret"], flow["file"]["path"]) == (None, "")


def test_fields_are_chosen_in_their_order(traces: dict[str, Path]) -> None:
    done = sysprint("-c", "type, proc.pid", "-o", "json", traces["webshell"])
    assert done.stdout.splitlines()[0] == b'{"type": "PE", "proc": {"pid": 1200}}'
    listed = [line.split()[0].decode() for line in sysprint("--list").stdout.splitlines()]
    assert list(json.loads(sysprint("-c", "ts,res", "-o", "json", traces["ipv6"]).stdout.splitlines()[0])) == [
        "ts",
        "res",
    ]
    assert {"type", "proc.exe", "res"} <= set(listed)


def test_ipv6(traces: dict[str, Path]) -> None:
    assert b"[2001:db8::20]:5000-[2001:db8::10]:443" in sysprint(traces["ipv6"]).stdout


def test_no_byte_of_a_capture_reaches_the_terminal_as_a_control(traces: dict[str, Path]) -> None:
    for form in ("str", "json"):
        text = sysprint("-o", form, traces["arbitrary-bytes"], PYTHONUTF8="1").stdout.decode()
        assert all(char.isprintable() for char in text.replace("\n", ""))


def test_a_locale_without_the_characters(traces: dict[str, Path]) -> None:
    done = sysprint(traces["arbitrary-bytes"], PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()


def test_standard_input(traces: dict[str, Path]) -> None:
    done = sysprint("-", stdin=traces["webshell"].read_bytes())
    assert done.stdout == sysprint(traces["webshell"]).stdout


def test_a_cut_trace_prints_what_is_there_and_exits_with_3(traces: dict[str, Path], tmp_path: Path) -> None:
    whole = traces["webshell"].read_bytes()
    cut = tmp_path / "cut.sf"
    cut.write_bytes(whole + whole[-2000:-1000])
    done = sysprint(cut, traces["ipv6"])
    assert done.returncode == 3
    assert done.stdout.startswith(sysprint(traces["webshell"]).stdout)
    assert b"2001:db8" in done.stdout, "the next trace is printed"
    assert done.stderr.startswith(b"sysprint: " + os.fsencode(cut) + b" at offset ")
    assert done.stderr.count(b"\n") == 1


def test_errors_are_one_line_and_exit_with_1(traces: dict[str, Path], tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path, Path(__file__), FIXTURES / "webshell.scap"):
        done = sysprint(path, traces["webshell"])
        assert done.returncode == 1
        assert done.stderr.count(b"\n") == 1
        assert os.fsencode(path) in done.stderr
        assert done.stdout == sysprint(traces["webshell"]).stdout
    assert b"sysporter" in done.stderr, "a capture is not a trace"


def test_wrong_usage_exits_with_2(traces: dict[str, Path]) -> None:
    for arguments in ([], ["-o", "xml", traces["webshell"]], ["-c", "proc.ex", traces["webshell"]]):
        done = sysprint(*arguments)
        assert done.returncode == 2
        assert done.stdout == b""
    assert b"proc.exe" in done.stderr, "the nearest name is given"


def test_version() -> None:
    assert sysprint("-v").stdout.decode().strip() == sftools.__version__


def test_a_reader_that_goes_away_is_no_error(traces: dict[str, Path]) -> None:
    code = "from sftools.tools.sysprint import main; main(prog_name='sysprint')"
    arguments = [sys.executable, "-c", code, "-o", "json", *[str(traces["minutes"])] * 50]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error(traces: dict[str, Path]) -> None:
    code = "from sftools.tools.sysprint import main; main(prog_name='sysprint')"
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, str(traces["webshell"])], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"sysprint: cannot write: No space left on device\n"
