"""sysporter as it is run: every option and environment variable, inputs of all kinds, exit statuses."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fastavro
import lz4.frame
import pytest
import zstandard
from click.testing import CliRunner

import sftools
from sftools import __version__
from sftools.errors import CaptureError
from sftools.newfile import NewFile, is_temporary
from sftools.scap import tables
from sftools.scap.scenario import build
from sftools.tools.sysporter import main

FIXTURES = Path(__file__).parents[1] / "fixtures"
COMMAND = [sys.executable, "-m", "sftools.tools.sysporter"]
VARIABLES = (
    "EXPORTER_ID", "OUTPUT", "FILTER", "INTERVAL", "NODE_IP", "FILE_ONLY", "FILE_READ_MODE", "ENABLE_PROC_FLOW",
    "ENABLE_DROP_MODE", "SAMPLING_RATIO",
)  # fmt: skip

# A process in a container and one on the host; a file, a system file, a pipe, a thread; the last event 45 s later.
CAPTURE = build("""
host alpha
start 2024-05-01T10:00:00Z
container web id=1111111111111111111111111111111111111111111111111111111111111111 image=nginx:1.27 type=docker
process 1 comm=init exe=/sbin/init exepath=/sbin/init
process 10 parent=1 comm=cat exe=/bin/cat exepath=/bin/cat
process 20 parent=1 comm=nginx exe=/usr/sbin/nginx exepath=/usr/sbin/nginx container=web
fd 10 3 file /srv/data flags=O_RDONLY
fd 10 4 file /usr/lib/libc.so flags=O_RDONLY
fd 10 5 fifo pipe:[77]
fd 20 3 file /srv/index.html flags=O_RDONLY
+ 10 read fd=3 size=5 res=5 data=hello
+ 10 read fd=4 size=5 res=5 data=hello
+ 10 read fd=5 size=5 res=5 data=hello
+ 20 read fd=3 size=5 res=5 data=hello
+ 10 clone child=11 flags=CLONE_THREAD|CLONE_FILES
+ 11 procexit ret=0
+ 10 unlink path=/srv/old res=0
+ 10 close fd=3 res=0
+45s 20 close fd=3 res=0
""")
DAMAGED = build(
    "process 10 comm=a exe=/a\n+ 10 unlink path=/x res=0\nbytes 00112233445566778899aabb\n"
    + 4 * ("+ 10 unlink path=/y res=0\n")
)
START = 1714557600


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty directory with x.scap, and none of the variables set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(sftools.__file__).parents[1]))  # where the working directory is elsewhere
    monkeypatch.chdir(tmp_path)
    Path("x.scap").write_bytes(CAPTURE)


def run(*arguments: str, status: int = 0, **variables: str) -> str:
    """Run sysporter in this process; returns what it said on stderr."""
    result = CliRunner().invoke(main, arguments, env=variables, prog_name="sysporter")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.stderr
    assert result.stdout == ""
    return result.stderr


def records(path: str = "x.sf") -> list[tuple[str, dict]]:
    with open(path, "rb") as file:
        rows = [row["rec"] for row in fastavro.reader(file, return_record_name=True)]
    return [(name.rpartition(".")[2], body) for name, body in rows]


def bodies(kind: str, path: str = "x.sf") -> list[dict]:
    return [body for name, body in records(path) if name == kind]


def paths_read(path: str = "x.sf") -> set[str]:
    """Of the files that have flows."""
    names = {file["oid"]: file["path"] for file in bodies("File", path)}
    return {names[flow["fileOID"]] for flow in bodies("FileFlow", path)}


def files() -> list[str]:
    return sorted(name for name in os.listdir() if name != "x.scap")


# -- the plain way


def test_converts_silently():
    assert run("-r", "x.scap", "-w", "x.sf") == ""
    assert records()[0][0] == "SFHeader"
    assert bodies("SFHeader") == [{"version": 5, "exporter": "alpha", "ip": "", "filename": "x.sf"}]
    assert files() == ["x.sf"]


def test_as_a_command():
    done = subprocess.run([*COMMAND, "-r", "x.scap", "-w", "x.sf"], capture_output=True, check=True)
    assert done.stdout == done.stderr == b""
    assert records()


def test_input_as_argument():
    run("x.scap", "-w", "x.sf")
    assert records()


# -- the existing collector's options and variables


@pytest.mark.parametrize(
    ("arguments", "variables", "exporter"),
    [
        (["-e", "me"], {}, "me"),
        (["--exporter", "me"], {}, "me"),
        ([], {"EXPORTER_ID": "env"}, "env"),
        (["-e", "me"], {"EXPORTER_ID": "env"}, "me"),
        ([], {"EXPORTER_ID": ""}, "alpha"),
    ],
)
def test_exporter(arguments, variables, exporter):
    run("-r", "x.scap", "-w", "x.sf", *arguments, **variables)
    assert bodies("SFHeader")[0]["exporter"] == exporter


def test_node_ip():
    run("-r", "x.scap", "-w", "x.sf", NODE_IP="10.0.0.1")
    run("-r", "x.scap", "-w", "y.sf", "--node-ip", "10.0.0.2", NODE_IP="10.0.0.1")
    assert [bodies("SFHeader", path)[0]["ip"] for path in ("x.sf", "y.sf")] == ["10.0.0.1", "10.0.0.2"]


def test_output_variable():
    run("-r", "x.scap", OUTPUT="env.sf")
    run("-r", "x.scap", "-w", "option.sf", OUTPUT="env2.sf")
    assert files() == ["env.sf", "option.sf"]


@pytest.mark.parametrize(
    ("arguments", "variables", "only"),
    [
        ([], {}, True),
        (["--no-file-only"], {}, False),
        ([], {"FILE_ONLY": "0"}, False),
        ([], {"FILE_ONLY": "1"}, True),
        (["--file-only"], {"FILE_ONLY": "0"}, True),
    ],
)
def test_file_only(arguments, variables, only):
    run("-r", "x.scap", "-w", "x.sf", *arguments, **variables)
    assert any("pipe" in path for path in paths_read()) is not only


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        ([], {}, {"/srv/data", "/srv/index.html"}),
        (["--file-read-mode", "0"], {}, {"/srv/data", "/srv/index.html", "/usr/lib/libc.so"}),
        ([], {"FILE_READ_MODE": "0"}, {"/srv/data", "/srv/index.html", "/usr/lib/libc.so"}),
        (["--file-read-mode", "2"], {"FILE_READ_MODE": "0"}, {"/srv/data", "/srv/index.html"}),
    ],
)
def test_file_read_mode(arguments, variables, expected):
    run("-r", "x.scap", "-w", "x.sf", *arguments, **variables)
    assert paths_read() == expected


@pytest.mark.parametrize(
    ("arguments", "variables", "counted"),
    [
        ([], {}, True),
        (["--no-proc-flow"], {}, False),
        ([], {"ENABLE_PROC_FLOW": "0"}, False),
        (["--proc-flow"], {"ENABLE_PROC_FLOW": "0"}, True),
    ],
)
def test_proc_flow(arguments, variables, counted):
    run("-r", "x.scap", "-w", "x.sf", *arguments, **variables)
    assert bool(bodies("ProcessFlow")) is counted
    assert bool(bodies("ProcessEvent")) is not counted


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["-f", "proc.name = nginx"], {}),
        ([], {"FILTER": "proc.name = nginx"}),
        (["-f", "proc.name = nginx"], {"FILTER": "proc.name = cat"}),
        (["-c"], {}),
    ],
)
def test_filter_and_containers(arguments, variables):
    run("-r", "x.scap", "-w", "x.sf", *arguments, **variables)
    assert paths_read() == {"/srv/index.html"}
    assert not bodies("FileEvent")


def test_bad_filter_fails_before_reading():
    said = run("-r", "missing.scap", "-w", "x.sf", "-f", "proc.name = ", status=2)
    assert re.fullmatch(r"sysporter: filter: [^\n]+\n  proc.name = \n +\^\n", said)
    assert files() == []


def test_list_fields():
    result = CliRunner().invoke(main, ["--list-fields"])
    assert result.exit_code == 0
    assert re.search(r"^proc\.name\s", result.stdout, re.MULTILINE)


def test_mode():
    run("-r", "x.scap", "-w", "flow.sf", "-m", "flow")
    run("-r", "x.scap", "-w", "consume.sf", "-m", "consume")
    run("-r", "x.scap", "-w", "nofiles.sf", "-m", "nofiles")
    assert any(flow["numRRecvOps"] for flow in bodies("FileFlow", "flow.sf"))
    assert not any(flow["numRRecvOps"] for flow in bodies("FileFlow", "consume.sf"))
    assert not bodies("FileFlow", "nofiles.sf") + bodies("FileEvent", "nofiles.sf") + bodies("File", "nofiles.sf")
    assert "nothing" in run("-r", "x.scap", "-w", "x.sf", "-m", "nothing", status=2)


@pytest.mark.parametrize(("arguments", "variables"), [(["-G", "30"], {}), ([], {"INTERVAL": "30"})])
def test_rotation_of_a_prefix(arguments, variables):
    run("-r", "x.scap", "-w", "x.sf", *arguments, **variables)
    assert files() == [f"x.sf.{START}", f"x.sf.{START + 45}"]
    assert bodies("SFHeader", f"x.sf.{START + 45}")[0]["filename"] == f"x.sf.{START + 45}"


def test_rotation_in_a_directory():
    run("-r", "x.scap", "-w", "d/", "-G", "30")
    assert sorted(os.listdir("d")) == [str(START), str(START + 45)]


def test_rotation_never_overwrites():
    Path(f"x.{START}").write_bytes(b"mine")
    assert "exists already" in run("-r", "x.scap", "-w", "x", "-G", "30", status=1)
    assert Path(f"x.{START}").read_bytes() == b"mine"
    # The second capture's clock begins again: its next file begins in the same second as one of the first.
    run("-r", "x.scap", "-r", "x.scap", "-w", "y", "-G", "30")
    assert sorted(name for name in files() if name.startswith("y")) == [
        f"y.{START}",
        f"y.{START + 45}",
        f"y.{START + 45}.1",
    ]


def test_no_rotation():
    run("-r", "x.scap", "-w", "x.sf", INTERVAL="0")
    assert files() == ["x.sf"]


def test_rotation_needs_a_time():
    assert "-G" in run("-r", "x.scap", "-w", "x.sf", "-G", "-1", status=2)
    for overflows in ("18446744074", "17000000000"):  # 64 bits of nanoseconds, alone and with a time
        assert "-G" in run("-r", "x.scap", "-w", "x.sf", "-G", overflows, status=2)
    assert "standard output cannot be" in run("-r", "x.scap", "-w", "-", "-G", "9", status=2)


def test_directory_gets_a_file_named_by_time():
    run("-r", "x.scap", "-w", "d/")
    assert os.listdir("d") == [str(START)]
    os.mkdir("e")
    run("-r", "x.scap", "-w", "e")
    assert os.listdir("e") == [str(START)]


@pytest.mark.parametrize(
    "arguments",
    [["-k", "ebpf"], ["-p", "/run/cri.sock"], ["-t", "30"], ["-s", "8"], ["--drop-mode"], ["--pid", "1"]],
    ids=lambda given: given[0],
)
def test_live_options_are_accepted_with_a_message(arguments):
    said = run("-r", "x.scap", "-w", "x.sf", *arguments)
    assert said == f"sysporter: {arguments[0]}: for live capture, without effect on -r\n"
    assert records()


def test_what_has_no_effect_says_nothing():
    variables = {"ENABLE_DROP_MODE": "1", "SAMPLING_RATIO": "4"}
    assert run("-r", "x.scap", "-w", "x.sf", "-l", "log4cxx.properties", **variables) == ""


@pytest.fixture
def refused(monkeypatch):
    """A host that cannot be captured; what the session would have been."""
    asked = []

    def refuse(options):
        asked.append(options)
        raise CaptureError("this host cannot be captured")

    monkeypatch.setattr("sftools.live.session.capture_session", refuse)
    return asked


def test_without_input_it_is_live(refused):
    assert run("-w", "x.sf", status=1) == "sysporter: this host cannot be captured\n"
    assert run("--raw", "-w", "x.scap2", status=1) == "sysporter: this host cannot be captured\n"
    assert not [name for name in os.listdir() if name != "x.scap"]
    trace, raw = refused
    assert trace.probe.events is not None
    assert raw.probe.events is None


def test_a_raw_capture_that_is_ended_as_it_begins_leaves_no_file(refused, monkeypatch):
    opened = NewFile.open

    def ended(file):
        opened(file)
        raise SystemExit(128 + signal.SIGTERM)

    monkeypatch.setattr(NewFile, "open", ended)
    run("--raw", "-w", "y", status=128 + signal.SIGTERM)
    assert files() == []


def test_live_options(refused):
    arguments = [
        "--pid",
        str(os.getpid()),
        "--comm",
        "nginx",
        "--snaplen",
        "0",
        "--buffer",
        "64K",
        "-p",
        "/run/x.sock",
        "-t",
        "5",
    ]
    run("-w", "x.sf", *arguments, "-m", "consume", "-s", "4", "--duration", "0.5", status=1)
    (asked,) = refused
    assert asked.probe.pids == {os.getpid()}
    assert asked.probe.comms == {b"nginx"}
    assert (asked.probe.snaplen, asked.probe.buffer, asked.probe.sampling_ratio) == (0, 65536, 4)
    assert tables.PPME_SYSCALL_READ_X not in asked.probe.events
    assert tables.PPME_SYSCALL_CLOSE_X in asked.probe.events
    assert (asked.cri_sockets, asked.timeout_ms, asked.duration) == (("/run/x.sock",), 5, 0.5)
    run("-w", "y.sf", "--", "make", "-j", "test", status=1)
    assert refused[1].command == ["make", "-j", "test"]


def test_what_a_filter_leaves_out_is_left_out_by_the_kernel(refused):
    run("-w", "x.sf", "-f", "evt.type in (connect, write) and proc.pid = 7", status=1)
    (asked,) = refused
    assert asked.probe.pids == {7}
    assert not asked.probe.follow
    assert {tables.PPME_SYSCALL_WRITE_X, tables.PPME_SYSCALL_CLOSE_X} <= asked.probe.events
    assert tables.PPME_SYSCALL_READ_X not in asked.probe.events


def test_a_threads_id_is_no_processs(refused):
    """Else nothing would be recorded: the kernel half filters by processes."""
    tids = []
    may_end = threading.Event()
    begun = threading.Event()

    def work():
        tids.append(threading.get_native_id())
        begun.set()
        may_end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    try:
        said = run("-w", "x.sf", "--pid", str(tids[0]), status=2)
        assert f"--pid {tids[0]}: is a thread of process {os.getpid()}" in said
        assert not refused
    finally:
        may_end.set()
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["-r", "x.scap", "-w", "x.sf", "--", "true"], "a command is traced live"),
        (["-w", "x.sf", "--pid", "1", "--", "true"], "a command or --pid"),
        (["-w", "-", "--", "true"], "standard output is the command's"),
        (["-w", "x.sf", "--pid", "4194305"], "--pid 4194305: there is no such process"),
        (["-w", "x.sf", "-k", "kmod"], "there is only ebpf-core"),
        (["--raw", "-w", "d/"], "--raw records into one file"),
        (["--raw", "-r", "x.scap", "-w", "y"], "sysporter: --raw records the running system: without -r\n"),
        (["--raw", "-w", "y", "-G", "5"], "-G is for traces"),
        (["--raw", "-w", "y", "-f", "evt.type = open"], "-f is for traces"),
        (["--raw", "-w", "y", "-c"], "-c is for traces"),
        (["--raw", "-w", "y", "--exporter", "x"], "-e is for traces"),
        (["--raw", "-w", "y", "--node-ip", "::1"], "--node-ip is for traces"),
        (["--raw", "-w", "y", "-m", "flow"], "-m is for traces"),
        (["--raw", "-w", "y", "--no-file-only"], "--no-file-only is for traces"),
        (["--raw", "-w", "y", "--file-read-mode", "0"], "--file-read-mode is for traces"),
        (["--raw", "-w", "y", "--proc-flow"], "--proc-flow is for traces"),
        (["--raw", "-w", "y", "--schema", "5"], "--schema is for traces"),
        (["--raw", "-w", "y", "--codec", "null"], "--codec is for traces"),
        (["--raw", "-w", "y", "--jobs", "2"], "--jobs is for traces"),
        (["--raw", "-w", "y", "--strict"], "--strict is for traces"),
        (["-w", "y", "--comm", ""], "--comm: no thread has an empty name"),
        (["-w", "x.sf", "--buffer", "many"], "is no size"),
        (["-w", "x.sf", "--duration", "inf"], "inf is not in the range"),
        (["-w", "x.sf", "--duration", "nan"], "'--duration': 'nan' is not a valid number"),
        (["-w", "x.sf", "--"], "after -- stands no command"),
    ],
)
def test_live_options_that_do_not_go_together(refused, arguments, why):
    said = run(*arguments, status=2)
    assert why in said
    assert said.count("\n") == 1
    assert not refused


def test_of_a_services_variables_raw_takes_what_is_for_it(refused):
    variables = {"EXPORTER_ID": "x", "NODE_IP": "::1", "INTERVAL": "30", "FILTER": "evt.type = open", "FILE_ONLY": "0"}
    assert run("--raw", "-w", "y", status=1, **variables) == "sysporter: this host cannot be captured\n"


def test_with_drop_mode_the_mode_tells_what_a_raw_capture_leaves_out(refused):
    run("--raw", "--drop-mode", "-m", "consume", "-w", "y", status=1)
    assert tables.PPME_SYSCALL_READ_X not in refused[0].probe.events


@pytest.mark.parametrize("variables", [{"NODE_IP": "node-7"}, {"NODE_IP": "10.0.0"}])
def test_a_node_ip_is_an_address(variables):
    said = run("-r", "x.scap", "-w", "x.sf", status=2, **variables)
    assert said == f"sysporter: --node-ip (NODE_IP): {variables['NODE_IP']!r} is no IP address\n"


def test_without_output():
    assert run("-r", "x.scap", status=2).startswith("sysporter: no output: -w FILE")


def test_version_and_help():
    for option in ("-v", "--version"):
        result = CliRunner().invoke(main, [option])
        assert result.stdout == f"sysporter {__version__}, SysFlow schema 5 and 6\n"
    for option in ("-h", "--help"):
        result = CliRunner().invoke(main, [option])
        assert all(name in result.stdout for name in VARIABLES)
        assert "Exit status: 0 done" in result.stdout


def test_help_needs_little():
    code = "import sys; from sftools.tools.sysporter import main\nprint(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "sftools.engine.options" in loaded
    assert not {"sftools.porter", "sftools.engine.engine_cy", "sftools.filter", "sftools.live.loader"} & loaded
    assert not {"fastavro", "lark", "zstandard", "isal", "cramjam"} & loaded


@pytest.mark.parametrize("also", [False, True])
def test_socket(also, listener):
    run("-r", "x.scap", "-u", listener.path, *(["-w", "x.sf"] if also else []), OUTPUT="unused.sf")
    messages = listener.messages()
    run("-r", "x.scap", "-w", "y.sf", "--codec", "null")
    assert len(messages) == len(records("y.sf"))
    start = Path("y.sf").read_bytes()
    assert all(message in start for message in messages[1:]), "each message is a record as a file has it"
    assert files() == (["x.sf", "y.sf"] if also else ["y.sf"])


def test_socket_that_nobody_listens_on():
    assert "cannot be connected to" in run("-r", "x.scap", "-u", "none", status=1)


# -- inputs


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, lz4.frame.compress])
def test_compressed(pack):
    Path("y.scap").write_bytes(pack(CAPTURE))
    run("-r", "x.scap", "-w", "x.sf")
    run("-r", "y.scap", "-w", "y.sf")
    assert records("x.sf")[1:] == records("y.sf")[1:]


@pytest.mark.parametrize("data", [CAPTURE, gzip.compress(CAPTURE)], ids=["plain", "gzip"])
def test_standard_input_to_standard_output(data):
    done = subprocess.run([*COMMAND, "-r", "-", "-w", "-"], input=data, capture_output=True, check=True)
    assert done.stderr == b""
    Path("out.sf").write_bytes(done.stdout)
    run("-r", "x.scap", "-w", "x.sf")
    assert records("out.sf")[1:] == records("x.sf")[1:]


def test_fifo():
    os.mkfifo("fifo")
    writer = threading.Thread(target=lambda: Path("fifo").write_bytes(CAPTURE))
    writer.start()
    run("-r", "fifo", "-w", "x.sf")
    writer.join()
    assert records()


def test_several_inputs_into_one_trace():
    Path("y.scap").write_bytes(DAMAGED)
    run("-r", "x.scap", "-r", "y.scap", "-w", "x.sf", status=3)
    assert len(bodies("SFHeader")) == 1
    assert {file["path"] for file in bodies("File")} >= {"/srv/data", "/x", "/y"}


@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]])
def test_several_inputs_into_a_directory(jobs):
    os.mkdir("in")
    for name in ("b.scap", "a.scap.gz"):
        Path("in", name).write_bytes(CAPTURE if name.endswith("scap") else gzip.compress(CAPTURE))
    run("-r", "in", "-w", "out/", *jobs)
    assert sorted(os.listdir("out")) == ["a.sf", "b.sf"]
    assert records("out/a.sf")[1:] == records("out/b.sf")[1:]
    assert bodies("SFHeader", "out/a.sf")[0]["filename"] == "out/a.sf"


@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]])
def test_one_bad_input_of_several(jobs):
    Path("bad.scap").write_bytes(b"nothing that I know")
    Path("cut.scap").write_bytes(CAPTURE[:-10])
    said = run("x.scap", "bad.scap", "cut.scap", "-w", "out/", *jobs, status=1)
    assert sorted(os.listdir("out")) == ["cut.sf", "x.sf"]
    assert "sysporter: bad.scap at offset 0: is not a scap capture" in said
    assert "sysporter: cut.scap at offset" in said


def test_jobs_need_a_trace_each():
    assert "--jobs" in run("x.scap", "x.scap", "-w", "x.sf", "--jobs", "2", status=2)
    run("x.scap", "-w", "x.sf", "--jobs", "2")


def test_inputs_of_the_same_name():
    os.mkdir("d")
    Path("d/x.scap").write_bytes(CAPTURE)
    assert "would both become" in run("x.scap", "d/x.scap", "-w", "out/", status=1)
    assert os.listdir("out") == []


def test_pattern():
    Path("y.scap").write_bytes(CAPTURE)
    run("-r", "*.scap", "-w", "out/")
    assert sorted(os.listdir("out")) == ["x.sf", "y.sf"]
    assert "matches no file" in run("-r", "z*", "-w", "x.sf", status=1)


# -- output


def test_existing_output():
    Path("x.sf").write_bytes(b"mine")
    assert run("-r", "x.scap", "-w", "x.sf", status=1) == "sysporter: x.sf: exists already; --force overwrites it\n"
    assert Path("x.sf").read_bytes() == b"mine"
    run("-r", "x.scap", "-w", "x.sf", "--force")
    assert records()
    assert files() == ["x.sf"]


def test_existing_output_in_a_directory():
    os.mkdir("out")
    Path("out/y.sf").write_bytes(b"mine")
    Path("y.scap").write_bytes(CAPTURE)
    assert "exists already" in run("x.scap", "y.scap", "-w", "out/", status=1)
    assert os.listdir("out") == ["y.sf"], "nothing is converted where not all can be"
    run("x.scap", "y.scap", "-w", "out/", "--force")
    assert len(records("out/y.sf")) > 1


@pytest.mark.parametrize("codec", ["deflate", "null", "snappy"])
def test_codec(codec):
    run("-r", "x.scap", "-w", "x.sf", "--codec", codec)
    with open("x.sf", "rb") as file:
        reader = fastavro.reader(file)
        assert reader.codec == codec
        assert len(list(reader)) > 5


def test_codec_zstandard():
    run("-r", "x.scap", "-w", "x.sf", "--codec", "zstandard")
    assert b"\x14avro.codec\x12zstandard" in Path("x.sf").read_bytes()
    assert zstandard.FRAME_HEADER in Path("x.sf").read_bytes()


def test_schema_and_ipv6():
    ipv6 = str(FIXTURES / "ipv6.scap")
    said = run("-r", ipv6, "-w", "5.sf")
    assert re.fullmatch(r"sysporter: \d+ IPv6 flows left out; --schema 6 keeps them\n", said)
    assert run("-r", ipv6, "-w", "quiet.sf", "-q") == ""
    assert run("-r", ipv6, "-w", "6.sf", "--schema", "6") == ""
    assert bodies("SFHeader", "6.sf")[0]["version"] == 6
    assert len(bodies("NetworkFlow", "6.sf")) > len(bodies("NetworkFlow", "5.sf"))
    run("-r", ipv6, "-w", "7.sf", "--schema", "7", status=2)


def test_stats():
    said = run("-r", "x.scap", "-w", "x.sf", "--stats")
    numbers = dict(re.findall(r"^ *(\S.*?)  +([\d,.]+)$", said, re.MULTILINE))
    assert numbers["events"] == "18"
    assert numbers["bytes written"] == f"{os.path.getsize('x.sf'):,}"
    assert numbers["FileEvent"] == "1"
    assert numbers["damaged places"] == "0"
    assert "table: threads" not in numbers
    numbers = dict(re.findall(r"^ *(\S.*?)  +([\d,.]+)$", run("-r", "x.scap", "-w", "y.sf", "-d"), re.MULTILINE))
    assert numbers["table: threads"] == "3"


def test_closed_pipe_is_silent():
    producer = subprocess.Popen([*COMMAND, "-r", "-", "-w", "-"], stdin=-1, stdout=-1, stderr=-1)
    assert producer.stdin
    assert producer.stdout
    assert producer.stderr
    producer.stdout.close()
    producer.stdin.write(CAPTURE)
    producer.stdin.close()
    assert producer.stderr.read() == b""
    assert producer.wait() == 0
    producer.stderr.close()


def test_standard_output_that_is_a_terminal():
    ours, theirs = os.openpty()
    done = subprocess.run([*COMMAND, "-r", "x.scap", "-w", "-"], stdout=theirs, stderr=subprocess.PIPE)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert b"standard output is a terminal" in done.stderr


def test_full_device():
    said = run("-r", "x.scap", "-w", "/dev/full", status=1)
    assert said == "sysporter: /dev/full: cannot be written: No space left on device\n"


@pytest.mark.parametrize("signal_", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_while_it_writes(signal_):
    os.mkdir("out")
    process = subprocess.Popen([*COMMAND, "-r", "-", "-w", "out/x.sf"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin
    assert process.stderr
    process.stdin.write(CAPTURE)
    process.stdin.flush()
    while not os.listdir("out"):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal_)
    if signal_ == signal.SIGKILL:
        assert process.wait() == -signal_
        assert all(is_temporary(name) for name in os.listdir("out"))
    else:
        assert process.wait() == 128 + signal_
        assert os.listdir("out") == []
    assert process.stderr.read() == b""
    process.stdin.close()
    process.stderr.close()


# -- damaged and hostile inputs


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x: is empty"),
        (bytes(1000), "x at offset 0: is not a scap capture"),
        (gzip.compress(b"no capture at all, but compressed"), "x at offset 0: is not a scap capture"),
        ((FIXTURES / "byte-swapped.scap").read_bytes(), "byte-swapped"),
        (b"\x28\xb5\x2f\xfd\x00\xff" + bytes(100), "needs a window of"),
    ],
    ids=["empty", "zeros", "compressed text", "byte-swapped", "zstd window"],
)
def test_no_capture(data, message):
    Path("x").write_bytes(data)
    said = run("-r", "x", "-w", "x.sf", status=1)
    assert said.startswith(f"sysporter: {message}" if message.startswith("x") else "sysporter: x at offset 0: ")
    assert message in said
    assert said.count("\n") == 1
    assert files() == ["x"]


def test_missing_input():
    assert run("-r", "no.scap", "-w", "x.sf", status=1) == "sysporter: no.scap: does not exist\n"
    assert files() == []


@pytest.mark.parametrize(
    ("directory", "why"),
    [("x/" * 1500, "too many directories in each other"), ("x.scap/y/", "Not a directory")],
    ids=["too deep for the stack", "below a file"],
)
def test_a_directory_that_cannot_be_made(directory, why):
    assert run("-r", "x.scap", "-w", directory, status=1) == f"sysporter: {directory}: cannot be made: {why}\n"
    assert files() == []


def test_name_with_control_characters():
    assert run("-r", "a\nb\x1b]0;", "-w", "x.sf", status=1) == "sysporter: a\\x0ab\\x1b]0;: does not exist\n"


def test_damaged():
    Path("y.scap").write_bytes(DAMAGED)
    said = run("-r", "y.scap", "-w", "x.sf", status=3)
    first, second = said.splitlines()
    assert re.match(r"sysporter: y.scap at offset \d+: ", first)
    assert second == "sysporter: damaged in 1 place; what is sound was converted (--strict stops instead)"
    assert {file["path"] for file in bodies("File")} == {"/x", "/y"}


def test_strict():
    Path("y.scap").write_bytes(DAMAGED)
    said = run("-r", "y.scap", "-w", "x.sf", "--strict", status=1)
    assert re.fullmatch(r"sysporter: y.scap at offset \d+: .*\n", said)
    assert files() == ["y.scap"]
    run("-r", "x.scap", "-w", "x.sf", "--strict")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lz4.frame.compress])
def test_cut_anywhere(pack):
    whole = pack(CAPTURE)
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        Path("y.scap").write_bytes(whole[:size])
        result = CliRunner().invoke(main, ["-r", "y.scap", "-w", "x.sf", "--force"])
        assert result.exit_code in (0, 1, 3), result.exception
        assert "Traceback" not in result.stderr
        if result.exit_code != 1:
            assert records()


def test_progress_on_a_terminal_only():
    code = "import sftools.porter as p, sftools.tools.terminal as t, sftools.tools.sysporter as s\n"
    code += "p._SLICE = 5; t.QUIET_SECONDS = t.REDRAW_SECONDS = 0; s.main()"
    command = [sys.executable, "-c", code, "-r", "x.scap", "-w", "x.sf", "--force"]
    assert subprocess.run(command, capture_output=True, check=True).stderr == b""
    for more, pattern in (
        ([], rb"x\.scap \[#+ *\] +\d+% \d+\.\d M events, \d+\.\d M/s\x1b\[K\r\x1b\[K$"),
        (["-q"], rb"^$"),
    ):
        ours, theirs = os.openpty()
        shown = b""
        with subprocess.Popen([*command, *more], stderr=theirs) as running:
            os.close(theirs)
            with contextlib.suppress(OSError):  # the other side is closed
                while data := os.read(ours, 100_000):
                    shown += data
        os.close(ours)
        assert running.returncode == 0
        assert re.search(pattern, shown)
