"""sysprint as a command: what goes in, what comes out, where errors go, how it ends."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import sftools
from sftools.fields import DEFAULT_FIELDS, FIELDS
from sftools.newfile import is_temporary
from sftools.tools.sysprint import FORMATS, main

FIXTURES = Path(__file__).parents[1] / "fixtures"
TRACES = FIXTURES / "traces"
WEBSHELL = TRACES / "webshell.sf"
COMMAND = [sys.executable, "-m", "sftools.tools.sysprint"]
SHARED = Path(__file__).parents[3] / "shared" / "traces"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(sftools.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("S3_", "AWS_")) or name == "NO_COLOR"]:
        monkeypatch.delenv(name)


def sysprint(*arguments: object, status: int = 0) -> str:
    """Standard output of a run in this process that says nothing."""
    output, errors = both(*arguments, status=status)
    assert errors == ""
    return output


def both(*arguments: object, status: int = 0) -> tuple[str, str]:
    """Standard output and error of a run in this process."""
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == status, result.output
    return result.stdout_bytes.decode(), result.stderr


def said(*arguments: object, status: int) -> str:
    """The errors of a run that prints nothing."""
    output, errors = both(*arguments, status=status)
    assert output == ""
    return errors


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], check=False, **{"capture_output": True, "env": ENVIRONMENT, **options}
    )


# -- forms


@pytest.mark.parametrize("path", sorted(TRACES.glob("*.sf")), ids=lambda path: path.stem)
def test_json_and_csv_of_every_schema(path: Path) -> None:
    status = 3 if path.stem == "cut" else 0
    flat, _ = both("-o", "flatjson", path, status=status)
    assert documents(flat) == documents(path.with_suffix(".flatjson").read_text())
    assert both("-o", "csv", path, status=status)[0].encode() == path.with_suffix(".csv").read_bytes()
    nested = documents(both("-o", "json", path, status=status)[0])
    assert [[*each] for each in nested] == [[*dict.fromkeys(name.split(".")[0] for name in DEFAULT_FIELDS)]] * len(
        nested
    )


def test_the_table_tells_the_story() -> None:
    titles, rule, *rows = sysprint(WEBSHELL).splitlines()
    assert titles.split()[1:8] == ["Rec", "#", "|", "Start", "Time", "|", "T"]
    assert set(rule) == set("|-:")
    assert len(rows) == len(documents(sysprint("-o", "json", WEBSHELL)))
    assert any("| NF |" in row and "203.0.113.66:8443 |" in row.replace("  ", "") for row in rows)
    assert sysprint("-f", "proc.exe = nothing", WEBSHELL) == ""
    assert sysprint("-c", "idx,type", WEBSHELL).splitlines()[0].split() == ["|", "Rec", "#", "|", "T", "|"]


def test_k_K_and_A_choose_columns_of_the_table_only() -> None:
    heads = {option: sysprint(*option.split(), WEBSHELL).splitlines()[0] for option in ("", "-k", "-K", "-A")}
    assert heads["-k"].replace(" ", "") == heads[""].replace(" ", "") + "PodName|"
    assert heads["-K"].split(" | ")[1:4] == ["         Start Time", "T ", "K8s EV Action"]
    assert all(FIELDS[name].title in heads["-A"] for name in DEFAULT_FIELDS)
    assert len({sysprint("-o", "json", *option.split(), WEBSHELL) for option in heads}) == 1
    assert "exclude each other" in said("-k", "-K", WEBSHELL, status=2)


def test_fields_in_the_order_given() -> None:
    assert sysprint("-c", "type,proc.pid", "-o", "json", "-n1", WEBSHELL) == '{"type":"PE","proc":{"pid":1200}}\n'
    assert sysprint("-c", " proc.name, idx ", "-o", "csv", "-n1", WEBSHELL) == "proc.name,idx\r\napache2,0\r\n"
    assert sysprint("-A", "-c", "type", "-o", "csv", WEBSHELL) == sysprint("-o", "csv", WEBSHELL)
    assert sysprint("-c", "", "-o", "csv", WEBSHELL) == sysprint("-o", "csv", WEBSHELL)
    assert said("-c", "proc.ex", WEBSHELL, status=2) == "sysprint: no field 'proc.ex'; do you mean proc.exe?\n"


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_columns(form: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    sysprint("-o", form, "-w", "x", "-c", "ts_uts,proc.exe,flow.rbytes", WEBSHELL)
    if form == "parquet":
        table = pytest.importorskip("pyarrow.parquet").read_table("x")
    else:
        table = pyarrow.ipc.open_stream("x").read_all()
    rows = documents(sysprint("-o", "flatjson", "-c", "ts_uts,proc.exe,flow.rbytes", WEBSHELL))
    assert table.num_rows == len(rows)
    assert table.column("flow.rbytes").to_pylist() == [row["flow.rbytes"] for row in rows]


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_columns_without_pyarrow(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install" in said("-o", form, "-w", "x", WEBSHELL, status=1)
    assert os.listdir() == []


def test_list_of_the_fields() -> None:
    lines = sysprint("-l").splitlines()
    rule = "-" * 30
    assert (lines[:3], lines[-1]) == ([rule, "List of attributes:", rule], rule)
    listed = [line[:40].rstrip() for line in lines[3:-1]]
    assert sorted(listed) == sorted(FIELDS)
    assert lines[3 + listed.index("proc.pid")] == f"{'proc.pid':40} {'Process PID':40}"
    assert listed.index("proc.name") < listed.index("pproc.pid"), "a group stands together"


def test_version_and_help() -> None:
    assert sysprint("-v") == sftools.__version__ + "\n"
    text = sysprint("-h")
    for parameter in main.params:
        assert all(option in text for option in parameter.opts if option.startswith("--")), parameter
    assert set(FORMATS) <= set(re.findall(r"\w+", text))


# -- which records


def test_filter() -> None:
    rows = documents(sysprint("-o", "json", "-f", "type = NF and net.dport = 8443", WEBSHELL))
    assert rows
    assert all(row["type"] == "NF" and row["net"]["dport"] == 8443 for row in rows)
    assert sysprint("-o", "json", "-f", "proc.exe = nothing", WEBSHELL) == ""
    assert sysprint("-o", "json", "-f", " ", WEBSHELL) == sysprint("-o", "json", WEBSHELL)


def test_a_bad_filter_has_a_caret_under_the_place() -> None:
    assert said("-f", "type = FF and proc.exx = a", "none", status=2).splitlines() == [
        "sysprint: filter: unknown field proc.exx (proc.exe?)",
        "  type = FF and proc.exx = a",
        "                ^",
    ]


def test_definitions() -> None:
    Path("defs.yaml").write_text(
        "- list: shells\n  items: [/usr/bin/dash]\n\n- macro: shell\n  condition: proc.exe in (shells)\n"
    )
    rows = documents(sysprint("-o", "flatjson", "-F", "defs.yaml", "-f", "shell and type = PE", WEBSHELL))
    assert {row["proc.exe"] for row in rows} == {"/usr/bin/dash"}
    assert said("-F", "none.yaml", "-f", "shell", WEBSHELL, status=1).startswith("sysprint: none.yaml: ")
    assert "defs.yaml" not in said("-F", "defs.yaml", "-f", "shel", WEBSHELL, status=2)


def test_first_and_last() -> None:
    every = sysprint("-o", "json", WEBSHELL).splitlines()
    assert sysprint("-o", "json", "-n", 3, WEBSHELL).splitlines() == every[:3]
    assert sysprint("-o", "json", "--tail", 3, WEBSHELL).splitlines() == every[-3:]
    assert sysprint("-o", "json", "-n", 3, WEBSHELL, "none").splitlines() == every[:3], (
        "no more is read than is printed"
    )
    assert len(sysprint("-o", "json", "--tail", len(every) + 3, WEBSHELL, WEBSHELL).splitlines()) == len(every) + 3
    assert "exclude each other" in said("-n", 1, "--tail", 1, WEBSHELL, status=2)


@pytest.mark.parametrize("field", ["ts", "flow.rbytes", "net.dip", "proc.aname", "res"])
def test_sort(field: str) -> None:
    def values(*more: str) -> list[Any]:
        return [row[field] for row in documents(sysprint("-o", "flatjson", "-c", field, *more, WEBSHELL))]

    present = [value for value in values() if value not in (None, "", [])]
    upwards = [value for value in values("--sort", field) if value not in (None, "", [])]
    downwards = [value for value in values("--sort", f"-{field}") if value not in (None, "", [])]
    assert upwards == sorted(present)
    assert downwards == sorted(present, reverse=True)
    assert values("--sort", field)[: len(present)] == upwards, "what has no value comes last"
    assert values("--sort", f"-{field}")[: len(present)] == downwards


def test_sort_goes_before_first_and_last_and_over_all_inputs() -> None:
    one, two = TRACES / "old-2018.sf", WEBSHELL
    times = sorted(row["ts_uts"] for path in (one, two) for row in documents(sysprint("-o", "flatjson", path)))
    for more, expected in (((), times), (("-n", 2), times[:2]), (("--tail", 2), times[-2:])):
        rows = documents(sysprint("-o", "flatjson", "--sort", "ts_uts", *more, two, one))
        assert [row["ts_uts"] for row in rows] == expected
    assert "no field 'x'" in said("--sort", "x", one, status=2)
    assert said("--sort", "ts,res", one, status=2) == "sysprint: --sort takes one field\n"


def test_times_and_open_flags_in_another_form() -> None:
    first = {
        form: sysprint("--time", form, "-c", "ts", "-o", "csv", "-n1", WEBSHELL) for form in ("iso", "epoch", "rel")
    }
    assert first == {
        "iso": "ts\r\n2024-05-01T10:00:00.100031000Z\r\n",
        "epoch": "ts\r\n1714557600100031000\r\n",
        "rel": "ts\r\n0.000000000\r\n",
    }
    assert "WRONLY,CREAT,TRUNC" in sysprint("--open-flags", "names", "-c", "file.openflags", WEBSHELL)
    assert "are for text" in said("--time", "rel", "-o", "arrow", WEBSHELL, status=2)


# -- inputs


def test_several_inputs_are_one_output() -> None:
    one, two = (documents(sysprint("-o", "json", TRACES / f"{name}.sf")) for name in ("webshell", "every-type"))
    assert documents(sysprint("-o", "json", WEBSHELL, TRACES / "every-type.sf")) == one + two
    sysprint("-o", "json", "-w", "x.json", WEBSHELL, TRACES / "every-type.sf")
    assert json.loads(Path("x.json").read_text()) == one + two
    rows = list(csv.reader(io.StringIO(sysprint("-o", "csv", WEBSHELL, TRACES / "every-type.sf"), newline="")))
    assert len(rows) == 1 + len(one + two)


def test_directories_patterns_and_compressed_files() -> None:
    os.makedirs("d/sub")
    names = ["2.sf", "10.sf.gz", "readme.txt", "sub/3.sf"]
    contents = [WEBSHELL.read_bytes(), gzip.compress((TRACES / "every-type.sf").read_bytes()), b"hello"]
    for name, content in zip(names, [*contents, contents[0]], strict=True):
        (Path("d") / name).write_bytes(content)
    expected = sysprint("-o", "json", WEBSHELL, TRACES / "every-type.sf")
    passed_over = "sysprint: passed over: d/readme.txt: is no SysFlow trace (no Avro container file)\n"
    assert both("-o", "json", "d") == (expected, passed_over)
    assert both("-o", "json", "-q", "d") == (expected, "")
    assert sysprint("-o", "json", "d/*.sf*") == expected
    assert sysprint("-o", "json", "-q", "--recursive", "d") == expected + sysprint("-o", "json", WEBSHELL)


def test_a_directory_without_a_trace_is_an_error() -> None:
    os.mkdir("d")
    Path("d/readme.txt").write_text("hello")
    assert said("-q", "d", status=1) == "sysprint: there is no trace among the files\n"
    assert len(said("d", status=1).splitlines()) == 2


def test_many_passed_over_are_counted() -> None:
    os.mkdir("d")
    for i in range(30):
        Path(f"d/{i}").write_text("hello")
    errors = both("-o", "json", "d", WEBSHELL)[1].splitlines()
    assert len(errors) == 21
    assert errors[-1] == "sysprint: passed over: 10 files more"


def test_standard_input() -> None:
    done = process("-o", "json", "-", input=gzip.compress(WEBSHELL.read_bytes()))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == sysprint("-o", "json", WEBSHELL)


def test_a_bucket(s3_server: Any) -> None:
    bucket = s3_server.root / "printed" / "day"
    bucket.mkdir(parents=True, exist_ok=True)
    (bucket / "10.sf.gz").write_bytes(gzip.compress((TRACES / "every-type.sf").read_bytes()))
    (bucket / "2.sf").write_bytes(WEBSHELL.read_bytes())
    (bucket / "notes.txt").write_text("hello")
    keys = ["-e", s3_server.url, "-a", s3_server.access_key, "-s", s3_server.secret_key]
    expected = sysprint("-o", "json", WEBSHELL, TRACES / "every-type.sf")
    for arguments in (["s3://printed/day"], ["s3://printed"], ["-i", "s3", "printed/d"]):
        assert both("-o", "json", *keys, *arguments) == (
            expected,
            "sysprint: passed over: s3://printed/day/notes.txt: is no SysFlow trace (no Avro container file)\n",
        )
    assert "no such bucket" in said(*keys, "s3://nothing", status=1)
    errors = both("-o", "json", *keys[:-1], "wrong-secret-key", "s3://printed", WEBSHELL, status=1)
    assert errors == (
        sysprint("-o", "json", WEBSHELL),
        "sysprint: s3://printed/: access denied: the secret key is wrong\n",
    )


# -- damage and errors


def test_a_cut_trace_prints_what_is_there() -> None:
    for form in ("json", "csv", "str"):
        output, errors = both("-o", form, TRACES / "cut.sf", status=3)
        assert re.fullmatch(r"sysprint: .*cut\.sf at offset \d+: ends inside a block; it is cut off or .*\n", errors)
        assert len(output.splitlines()) > 5
    both("-o", "json", "-w", "x.json", TRACES / "cut.sf", status=3)
    assert json.loads(Path("x.json").read_text()) == documents(both("-o", "json", TRACES / "cut.sf", status=3)[0])


def test_what_is_sound_behind_damage_is_printed() -> None:
    whole = WEBSHELL.read_bytes()
    sync = whole[-16:]
    header, *blocks, end = whole.split(sync)
    assert len(blocks) > 3
    blocks[2] += b"what does not belong there"
    Path("x.sf").write_bytes(sync.join([header, *blocks, end]))
    output, errors = both("-o", "json", "x.sf", status=3)
    every = sysprint("-o", "json", WEBSHELL).splitlines()
    lines = output.splitlines()
    assert 0 < len(lines) < len(every)
    assert (lines[0], lines[-1]) == (every[0], every[-1])
    assert re.fullmatch(r"sysprint: x\.sf at offset \d+: damaged block: .*\n", errors)


def test_a_cut_gzip_file_prints_what_is_there() -> None:
    whole = gzip.compress(WEBSHELL.read_bytes(), 0)
    Path("x.gz").write_bytes(whole[:-5])
    output, errors = both("-o", "json", "x.gz", status=3)
    assert output == sysprint("-o", "json", WEBSHELL)
    assert "x.gz at offset" in errors
    assert "the gzip data is cut" in errors


def test_an_input_that_fails_does_not_stop_the_others() -> None:
    Path("empty").touch()
    capture = FIXTURES / "webshell.scap"
    output, errors = both("-o", "json", "none", "empty", capture, WEBSHELL, TRACES / "cut.sf", status=1)
    assert output.startswith(sysprint("-o", "json", WEBSHELL))
    lines = errors.splitlines()
    assert lines[0] == "sysprint: none: does not exist"
    assert lines[1].startswith("sysprint: empty: is empty")
    assert "sysporter" in lines[2], "a capture is no trace"
    assert "cut.sf at offset" in lines[3]
    assert len(lines) == 4


def test_many_errors_are_counted() -> None:
    lines = said(*[f"none{i}" for i in range(30)], status=1).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "sysprint: 10 errors more"


@pytest.mark.parametrize("form", FORMATS)
def test_where_nothing_could_be_read_nothing_is_written(form: str) -> None:
    assert "none: does not exist" in said("-o", form, "-w", "x", "none", status=1)
    assert os.listdir() == []


def test_no_records_are_an_empty_document() -> None:
    for path, more in ((TRACES / "empty.sf", []), (WEBSHELL, ["-f", "proc.exe = nothing"])):
        assert sysprint("-o", "json", *more, path) == ""
        assert sysprint("-o", "csv", *more, path) == ",".join(DEFAULT_FIELDS) + "\r\n"
        sysprint("-o", "json", *more, "-w", "x", "--force", path)
        assert json.loads(Path("x").read_text()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no PATH given"),
        (["-c", " ,", "x"], "an empty list of fields"),
        (["-o", "xml", "x"], "'xml' is not one of"),
        (["-n", "0", "x"], "0 is not in the range"),
        (["--k8", "x"], "Option --k8 is ambiguous: --k8s, --k8sevents."),
        (["-i", "ftp", "x"], "'ftp' is not one of"),
        (["s3://"], "no bucket"),
        (["-e", "ftp://x", "s3://b"], "S3 endpoint 'ftp://x'"),
        (["-a", "key", "s3://b"], "an access key without the secret key"),
        (["--secure=perhaps", "x"], "'perhaps' is not a valid boolean"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    assert message in said(*arguments, status=2)


def test_options_may_be_abbreviated() -> None:
    assert sysprint("--out", "json", "--fie", "type", "--secure", WEBSHELL) == sysprint(
        "-o", "json", "-c", "type", WEBSHELL
    )


# -- outputs


def test_a_file_is_not_overwritten_unless_asked() -> None:
    Path("x").write_text("mine")
    assert said("-w", "x", WEBSHELL, status=1) == "sysprint: x: exists already; --force overwrites it\n"
    assert Path("x").read_text() == "mine"
    sysprint("-w", "x", "--force", "-o", "csv", WEBSHELL)
    assert Path("x").read_bytes() == WEBSHELL.with_suffix(".csv").read_bytes()
    assert "there is no directory nowhere" in said("-w", "nowhere/x", WEBSHELL, status=1)


@pytest.mark.parametrize("form", ["str", "csv"])
def test_a_file_has_what_standard_output_has(form: str) -> None:
    sysprint("-o", form, "-w", "x", WEBSHELL)
    assert (
        Path("x").read_bytes().decode() == sysprint("-o", form, WEBSHELL) == sysprint("-o", form, "-w", "-", WEBSHELL)
    )
    assert os.listdir() == ["x"]


def test_a_file_appears_when_it_is_complete() -> None:
    with subprocess.Popen([*COMMAND, "-o", "csv", "-w", "x", "-"], stdin=subprocess.PIPE, env=ENVIRONMENT) as running:
        assert running.stdin is not None
        running.stdin.write(WEBSHELL.read_bytes())
        running.stdin.flush()
        while not (names := os.listdir()):
            assert running.poll() is None
            time.sleep(0.01)
        assert all(is_temporary(name) for name in names)
        running.terminate()
    assert running.returncode == 128 + signal.SIGTERM
    assert os.listdir() == []


def test_a_reader_that_goes_away_is_no_error() -> None:
    arguments = [*COMMAND, "-o", "json", *[str(WEBSHELL)] * 300]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "wb") as full:
        done = process(WEBSHELL, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"sysprint: stdout: cannot be written: No space left on device\n")
    done = process(WEBSHELL, "-w", "/dev/full")
    assert done.returncode == 1
    assert done.stderr == b"sysprint: /dev/full: cannot be written: No space left on device\n"


def test_stats() -> None:
    output, errors = both("--stats", "-o", "json", "-f", "type = NF", WEBSHELL, TRACES / "cut.sf", status=3)
    numbers = dict(re.findall(r"^(.*?) {2,}([\d.,]+)$", errors, re.MULTILINE))
    printed, records = len(output.splitlines()), 0
    for name in ("webshell", "cut"):
        records += len((TRACES / f"{name}.flatjson").read_text().splitlines())
    assert numbers["printed"] == str(printed)
    assert numbers["records"] == str(records)
    assert numbers["left out"] == str(records - printed)
    assert (numbers["inputs"], numbers["damaged places"], numbers["failed inputs"]) == ("2", "1", "0")


def on_a_terminal(*arguments: object, columns: int = 100, fds: tuple[str, ...] = ("stdout",), **variables: str) -> str:
    """What a run shows on a terminal that standard output, or error, is."""
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **dict.fromkeys(fds, theirs)}
    shown = bytearray()
    with subprocess.Popen([*map(str, arguments)], env={**ENVIRONMENT, **variables}, **options) as running:
        os.close(theirs)
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # the other side is closed
            pass
    os.close(ours)
    assert running.returncode in (0, 2)
    return shown.decode().replace("\r\n", "\n")


def test_on_a_terminal_the_table_fits_and_has_colour_if_wanted() -> None:
    plain = on_a_terminal(*COMMAND, "--no-color", WEBSHELL)
    assert max(map(len, plain.splitlines())) <= 100
    assert "\x1b" not in plain
    assert on_a_terminal(*COMMAND, WEBSHELL, NO_COLOR="1") == plain
    coloured = on_a_terminal(*COMMAND, WEBSHELL)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
    wide = on_a_terminal(*COMMAND, "--wide", "--no-color", WEBSHELL)
    assert max(map(len, wide.splitlines())) > 100
    assert "not for a terminal" in on_a_terminal(*COMMAND, "-o", "parquet", WEBSHELL, fds=("stdout", "stderr"))


def test_the_bar_is_shown_on_a_terminal_when_it_takes_long() -> None:
    code = "import sftools.tools.terminal as t, sftools.tools.sysprint as s\ns._SLICE = 5; {}s.main()"
    slow = [sys.executable, "-c", code.format("t.QUIET_SECONDS = t.REDRAW_SECONDS = 0; "), WEBSHELL]
    fast = [sys.executable, "-c", code.format(""), WEBSHELL]
    shown = on_a_terminal(*slow, fds=("stderr",))
    assert re.search(r"webshell\.sf \[#+ *\] +\d+% \d+\.\d M records, \d+\.\d M/s\x1b\[K", shown)
    assert shown.endswith("\r\x1b[K")
    assert on_a_terminal(*fast, fds=("stderr",)) == ""
    assert on_a_terminal(*slow, "-q", fds=("stderr",)) == ""


# -- what surrounds it


def test_neither_the_time_zone_nor_the_locale_matters() -> None:
    nasty = TRACES / "nasty.sf"
    for form in ("str", "json", "csv"):
        expected = process("-o", form, nasty).stdout
        variables = {**ENVIRONMENT, "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        done = process("-o", form, nasty, env=variables)
        assert (done.returncode, done.stdout) == (0, expected)


def test_no_control_character_of_a_trace_reaches_the_terminal() -> None:
    nasty = TRACES / "nasty.sf"
    assert any(not char.isprintable() for row in documents(sysprint("-o", "flatjson", nasty)) for char in row["res"])
    assert all(char.isprintable() for char in sysprint(nasty).replace("\n", ""))
    assert all(char >= " " for char in sysprint("-o", "json", nasty).replace("\n", ""))


def test_help_needs_little() -> None:
    code = "import sys; from sftools.tools.sysprint import main\nsys.stderr.write(' '.join(sys.modules))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, check=True).stderr.split()
    )
    own = {name.decode() for name in loaded if name.startswith(b"sftools")}
    assert own == {
        "sftools", "sftools.errors", "sftools.newfile", "sftools.render", "sftools.render.text", "sftools.tools",
        "sftools.tools.command", "sftools.tools.options", "sftools.tools.sysprint", "sftools.tools.terminal",
    }  # fmt: skip
    assert not {b"fastavro", b"boto3", b"orjson", b"lark", b"pyarrow"} & loaded


# -- beside the existing sysprint


def golden_runs() -> list[Any]:
    """(file, options) of the documents that the existing tool made of some small traces, with each of its options."""
    directory = SHARED / "sysprint"
    if not directory.is_dir():
        return [pytest.param(None, None, marks=pytest.mark.skip(reason="../shared is not there"))]
    runs = json.loads((directory / "ARGUMENTS.json").read_text())
    return [
        pytest.param(directory / name, options, id=name)
        for name, options in runs.items()
        if name.startswith(("alpine", "rename", "setuid")) and (directory / name).exists() and ".table" not in name
    ]


@pytest.mark.parametrize(("golden", "options"), golden_runs())
def test_documents_are_those_of_the_existing_sysprint(golden: Path, options: str) -> None:
    arguments = ["out" if word == "FILE" else word for word in shlex.split(options)]
    printed = sysprint(*arguments, SHARED / "collector" / f"{golden.name.partition('.')[0]}.sf")
    text = Path("out").read_bytes().decode() if "out" in arguments else printed
    wanted = golden.read_bytes()
    if golden.suffix == ".csv":
        assert text.encode() == wanted
        return

    def parsed(document: str) -> Any:
        # Pairs: the order counts.
        whole = document if "out" in arguments else f"[{','.join(document.splitlines())}]"
        return json.loads(whole, object_pairs_hook=list)

    assert parsed(text) == parsed(wanted.decode())
