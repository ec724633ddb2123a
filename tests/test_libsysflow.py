"""sftools.libsysflow: the API that libsysflow publishes."""

from __future__ import annotations

import dataclasses
import logging
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import sftools
from sftools.avro.plan import Plan
from sftools.libsysflow import SFSysCallMode, SysFlowConfig, SysFlowDriver, SysFlowError, SysFlowException
from sftools.reader import read_rows
from sftools.scap.scenario import build
from sftools.schema.opflags import OP_EXEC, OP_RENAME
from sftools.schema.sysflow import Container, File, FileEvent, FileFlow, Process, ProcessEvent, SFHeader
from sftools.schema.versions import schema_json
from sftools.source import open_source

FIXTURES = Path(__file__).parent / "fixtures"
WEBSHELL = str(FIXTURES / "webshell.scap")
DOCS = Path(__file__).parents[1] / "docs" / "libsysflow.md"

Call = tuple[SFHeader, Container | None, Process | None, File | None, File | None, Any]


def calls(path: str = WEBSHELL, **fields: Any) -> list[Call]:
    """The arguments of all calls of the callback."""
    got: list[Call] = []
    config = SysFlowConfig(scapInputPath=path, callback=lambda *call: got.append(call), **fields)
    assert SysFlowDriver(config).run() == 0
    return got


def test_the_callback_gets_each_activity_with_its_entities() -> None:
    got = calls(exporterID="me", nodeIP="10.0.0.9")
    assert {type(call[5]).__name__ for call in got} == {"ProcessEvent", "NetworkFlow", "FileFlow", "FileEvent"}
    assert {(header.exporter, header.ip) for header, *_ in got} == {("me", "10.0.0.9")}
    for _, container, process, file1, _, record in got:
        assert container is not None
        assert container.name == "shop"
        assert process is not None
        assert process.oid == record.procOID
        if isinstance(record, FileFlow | FileEvent):
            assert file1 is not None
            assert file1.oid == record.fileOID
        else:
            assert file1 is None


def test_a_process_is_as_it_was_at_the_record() -> None:
    execs = [
        (process.exe, process.exeArgs)
        for _, _, process, _, _, record in calls()
        if isinstance(record, ProcessEvent) and record.opFlags == OP_EXEC and process
    ]
    assert [exe for exe, _ in execs] == ["/usr/bin/dash", "/usr/bin/cat", "/usr/bin/curl"]
    assert execs[1][1] == "/etc/passwd"


def test_a_rename_has_two_files(tmp_path: Path) -> None:
    path = tmp_path / "t.scap"
    path.write_bytes(
        build(
            "# a rename\nprocess 5 parent=1 comm=mv exe=/bin/mv exepath=/bin/mv\n"
            "+ 5 rename oldpath=/a newpath=/b res=0\n"
        )
    )
    [(_, container, _, file1, file2, record)] = calls(str(path))
    assert record.opFlags == OP_RENAME
    assert (file1 and file1.path, file2 and file2.path, container) == ("/a", "/b", None)


def test_the_config_chooses_what_is_recorded() -> None:
    def kinds(**fields: Any) -> set[str]:
        return {type(call[5]).__name__ for call in calls(**fields)}

    assert "FileFlow" not in kinds(collectionMode=SFSysCallMode.SFNoFilesMode)
    assert kinds(falcoFilter="evt.type = unlink") == {"FileEvent"}
    assert len(calls(fileReadMode=1)) < len(calls(fileReadMode=0))
    assert calls(filterContainers=True), "the web shop runs in a container"


def test_exit_in_the_callback_makes_that_call_the_last() -> None:
    got = []

    def callback(*call: Any) -> None:
        got.append(call)
        driver.exit()

    driver = SysFlowDriver(SysFlowConfig(scapInputPath=WEBSHELL, callback=callback))
    assert driver.run() == 0
    assert len(got) == 1
    assert driver.run() == 0
    assert len(got) == 1


def test_exit_from_another_thread_stops_soon() -> None:
    """The callback waits until the thread has called exit(), so that nothing depends on time."""
    got = []
    called, left = threading.Event(), threading.Event()

    def callback(*call: Any) -> None:
        got.append(call)
        called.set()
        assert left.wait(60)

    driver = SysFlowDriver(SysFlowConfig(scapInputPath=WEBSHELL, callback=callback))
    runner = threading.Thread(target=driver.run)
    runner.start()
    assert called.wait(60)
    driver.exit()
    left.set()
    runner.join(60)
    assert not runner.is_alive()
    assert len(got) == 1


def test_what_the_callback_raises_comes_out_of_run() -> None:
    def callback(*call: Any) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        SysFlowDriver(SysFlowConfig(scapInputPath=WEBSHELL, callback=callback)).run()


def test_get_version() -> None:
    driver = SysFlowDriver(SysFlowConfig(scapInputPath=WEBSHELL, callback=print))
    assert driver.getVersion() == sftools.__version__


def test_enable_stats_logs_the_counts_under_the_app_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mine"):
        got = calls(enableStats=True, appName="mine")
    [line] = [record.getMessage() for record in caplog.records if record.name == "mine"]
    assert f"ProcessEvent {sum(isinstance(call[5], ProcessEvent) for call in got)}" in line.split(", ")


# -- files and sockets


def test_a_trace_file_instead_of_the_callback_or_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "out.sf"
    got = calls(filePath=str(path), rotateInterval=0)
    with open_source(str(path)) as source:
        written = [row.record for row in read_rows(source)]
    assert written == [call[5] for call in got]
    assert got[0][0] == SFHeader(5, "node-7", "", str(path))
    with pytest.raises(SysFlowException, match=r"out\.sf") as raised:
        SysFlowDriver(SysFlowConfig(scapInputPath=WEBSHELL, filePath=str(path), rotateInterval=0)).run()
    assert raised.value.getErrorCode() is SysFlowError.ErrorReadingFileSystem


def test_files_are_named_by_capture_time(tmp_path: Path) -> None:
    minutes = str(FIXTURES / "minutes.scap")
    for path in (f"{tmp_path}/", f"{tmp_path}/prefix"):
        SysFlowDriver(SysFlowConfig(scapInputPath=minutes, filePath=path, rotateInterval=60)).run()
    names = {entry.name for entry in tmp_path.iterdir()}
    epochs = {name for name in names if name.isdigit()}
    assert len(epochs) > 1
    assert names == epochs | {f"prefix.{epoch}" for epoch in epochs}


def test_exit_leaves_no_file_that_is_not_complete(tmp_path: Path) -> None:
    def callback(*call: Any) -> None:
        driver.exit()

    config = SysFlowConfig(scapInputPath=WEBSHELL, callback=callback, filePath=f"{tmp_path}/")
    driver = SysFlowDriver(config)
    assert driver.run() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_socket_gets_a_message_for_each_record(short_path: Path) -> None:
    path = str(short_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(path)
        server.listen(1)
        config = SysFlowConfig(scapInputPath=WEBSHELL, socketPath=path)
        thread = threading.Thread(target=SysFlowDriver(config).run)
        thread.start()
        client, _ = server.accept()
        with client:
            plan = Plan(schema_json(5))
            records = [plan.typed(data) for data in iter(lambda: client.recv(1 << 20), b"")]
        thread.join(60)
    assert records[0] == SFHeader(5, "node-7", "", path)
    assert records[1:] == list(sftools.convert(WEBSHELL, schema=5))[1:]


# -- errors


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"scapInputPath": ""}, SysFlowError.OperationNotSupported),
        ({"callback": None}, SysFlowError.LibsError),
        ({"falcoFilter": "proc.nam = x"}, SysFlowError.LibsError),
        ({"fileReadMode": 7}, SysFlowError.LibsError),
    ],
)
def test_a_wrong_config_is_told_by_the_constructor(fields: dict[str, Any], code: SysFlowError) -> None:
    config = dataclasses.replace(SysFlowConfig(scapInputPath=WEBSHELL, callback=print), **fields)
    with pytest.raises(SysFlowException) as raised:
        SysFlowDriver(config)
    assert raised.value.getErrorCode() is code
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/no/such/capture", SysFlowError.ErrorReadingFileSystem),
        (str(FIXTURES), SysFlowError.ErrorReadingFileSystem),
        ("/" + "x" * 5000, SysFlowError.NameTooLong),
        (__file__, SysFlowError.EventParsingError),
        (str(FIXTURES / "byte-swapped.scap"), SysFlowError.EventParsingError),
        (str(FIXTURES / "truncated.scap"), SysFlowError.EventParsingError),
    ],
)
def test_error_codes_of_inputs(path: str, code: SysFlowError) -> None:
    with pytest.raises(SysFlowException) as raised:
        calls(path)
    assert raised.value.getErrorCode() is code


def test_error_codes_have_the_published_numbers() -> None:
    published = (
        "LibsError ProbeAccessDenied ProbeNotExist ErrorReadingFileSystem NameTooLong ProbeCheckError ProbeNotLoaded "
        "DriverLibsMismatch EventParsingError ProcResourceNotFound OperationNotSupported"
    )
    assert [code.name for code in SysFlowError] == published.split()
    assert [code.value for code in SysFlowError] == list(range(11))
    assert SysFlowException("x").getErrorCode() is SysFlowError.LibsError


# -- the published table


def test_the_documentation_has_every_field_with_its_default() -> None:
    table = re.findall(r"^\| `(\w+)` \| (.*?) ?\| .* \| .* \|$", DOCS.read_text(), re.MULTILINE)
    documented = {name: default.strip("`") for name, default in table}
    shown = {}
    for field in dataclasses.fields(SysFlowConfig):
        default = field.default.name if isinstance(field.default, SFSysCallMode) else str(field.default)
        shown[field.name] = default
    assert documented == shown


def test_the_defaults_are_those_of_the_real_library() -> None:
    config = SysFlowConfig()
    assert (config.rotateInterval, config.criTO, config.samplingRatio, config.fileReadMode) == (300, 30, 1, 2)
    assert all((config.fileOnly, config.enableProcessFlow, config.dropMode, config.moduleChecks))
    assert not any((config.filterContainers, config.enableStats, config.debugMode, config.singleBufferDimension))
    assert (config.appName, config.collectionMode) == ("sysflowlibs", SFSysCallMode.SFFlowMode)
