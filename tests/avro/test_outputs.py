"""Where traces go: never over something, never under their name before they are complete."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from functools import partial

import pytest

from sftools.avro.container import ContainerWriter
from sftools.avro.outputs import Both, FileOutput, SocketOutput, StreamOutput, is_temporary, temporary_name
from sftools.errors import OutputError

container = partial(ContainerWriter, schema='"long"', codec="null", sync=bytes(16))


def file_output(path, **more):
    return FileOutput(lambda second: str(path), container, **more)


# -- names


def test_temporary_names_are_told_from_traces(tmp_path):
    name = temporary_name(str(tmp_path / "x.sf"))
    assert os.path.dirname(name) == str(tmp_path)
    assert is_temporary(os.path.basename(name))
    assert not name.endswith(".sf")
    assert name != temporary_name(str(tmp_path / "x.sf"))
    for other in ("x.sf", ".x.sf", "x.tmp", ".x.tmp", ".x.12.tmp", "x.12.0123abcd.tmp"):
        assert not is_temporary(other)


def test_longest_names_have_a_temporary_one(tmp_path):
    path = tmp_path / ("x" * 252 + ".sf")
    output = file_output(path)
    output.begin(0)
    output.commit()
    assert path.exists()


# -- files


def test_file_appears_when_complete(tmp_path):
    path = tmp_path / "x.sf"
    output = file_output(path)
    assert output.begin(0) == str(path)
    output.block(b"\x02", 1)
    (beside,) = os.listdir(tmp_path)
    assert is_temporary(beside)
    output.commit()
    assert os.listdir(tmp_path) == ["x.sf"]
    assert path.stat().st_size == output.bytes_written
    assert output.paths == [str(path)]


def test_file_has_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        output = file_output(tmp_path / "x.sf")
        output.begin(0)
        output.commit()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.sf").stat().st_mode) == 0o640


def test_abandoned_file_leaves_nothing(tmp_path):
    output = file_output(tmp_path / "x.sf")
    output.begin(0)
    output.block(b"\x02", 1)
    output.abandon()
    output.abandon()
    assert os.listdir(tmp_path) == []


def test_existing_file_is_refused_and_kept(tmp_path):
    path = tmp_path / "x.sf"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already; --force overwrites it"):
        file_output(path).begin(0)
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["x.sf"]


def test_file_that_came_in_the_meantime_is_kept(tmp_path):
    path = tmp_path / "x.sf"
    output = file_output(path)
    output.begin(0)
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        output.commit()
    output.abandon()
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["x.sf"]


@pytest.mark.parametrize("there", [False, True])
def test_file_systems_without_links(tmp_path, monkeypatch, there):
    def no_link(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    path = tmp_path / "x.sf"
    output = file_output(path)
    output.begin(0)
    if there:
        path.write_bytes(b"mine")
        with pytest.raises(OutputError, match="exists already"):
            output.commit()
        output.abandon()
        assert path.read_bytes() == b"mine"
    else:
        output.commit()
    assert os.listdir(tmp_path) == ["x.sf"]


def test_force_replaces_at_the_end(tmp_path):
    path = tmp_path / "x.sf"
    path.write_bytes(b"mine")
    output = file_output(path, force=True)
    output.begin(0)
    assert path.read_bytes() == b"mine"
    output.commit()
    assert path.read_bytes()[:4] == b"Obj\x01"
    assert os.listdir(tmp_path) == ["x.sf"]


def test_force_replaces_what_a_link_points_at(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.sf").write_bytes(b"mine")
    (tmp_path / "x.sf").symlink_to("real/x.sf")
    output = file_output(tmp_path / "x.sf", force=True)
    output.begin(0)
    output.commit()
    assert (tmp_path / "x.sf").is_symlink()
    assert (tmp_path / "real" / "x.sf").read_bytes()[:4] == b"Obj\x01"


def test_link_to_nothing_is_something(tmp_path):
    (tmp_path / "x.sf").symlink_to("nowhere")
    with pytest.raises(OutputError, match="exists already"):
        file_output(tmp_path / "x.sf").begin(0)


def test_device_is_written_to_as_it_is():
    output = file_output("/dev/null")
    output.begin(0)
    output.block(b"\x02", 1)
    output.commit()
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/", "/: is a directory"),
        ("/nonexistent/x.sf", "/nonexistent/x.sf: there is no directory /nonexistent"),
        ("/proc/x.sf", "/proc/x.sf: cannot be written: No such file or directory"),
        ("/dev/full", "/dev/full: cannot be written: No space left on device"),
    ],
)
def test_what_cannot_be_written(path, message):
    with pytest.raises(OutputError) as caught:
        file_output(path).begin(0)
    assert str(caught.value) == message


# -- files named by time


def test_split_files_are_complete_one_after_the_other(tmp_path):
    output = FileOutput(lambda second: f"{tmp_path}/x.{second}", container, splits=True)
    assert output.begin(100) == f"{tmp_path}/x.100"
    output.block(b"\x02", 1)
    assert output.next(160) == f"{tmp_path}/x.160"
    assert (tmp_path / "x.100").exists()
    assert not (tmp_path / "x.160").exists()
    output.commit()
    assert sorted(os.listdir(tmp_path)) == ["x.100", "x.160"]
    assert output.bytes_written == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_files_of_the_same_second_are_both_kept(tmp_path):
    output = FileOutput(lambda second: f"{tmp_path}/{second}", container, splits=True)
    output.begin(7)
    output.next(7)
    output.next(7)
    output.commit()
    assert sorted(os.listdir(tmp_path)) == ["7", "7.1", "7.2"]


def test_abandoning_keeps_the_parts_that_are_complete(tmp_path):
    output = FileOutput(lambda second: f"{tmp_path}/{second}", container, splits=True)
    output.begin(1)
    output.next(2)
    output.abandon()
    assert os.listdir(tmp_path) == ["1"]


# -- streams


def test_stream():
    reader, writer = os.pipe()
    output = StreamOutput(writer, container)
    assert output.begin(0) == "-"
    output.block(b"\x02", 1)
    output.commit()
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    assert data[:4] == b"Obj\x01"
    assert len(data) == output.bytes_written


def test_stream_whose_reader_is_gone():
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        StreamOutput(writer, container).begin(0)
    os.close(writer)


# -- sockets


@pytest.fixture
def listener(tmp_path):
    """A listening socket and the messages that its one client sends."""
    path = str(tmp_path / "socket")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(path)
    server.listen(1)
    messages: list[bytes] = []

    def receive() -> None:
        client, _ = server.accept()
        with client:
            while message := client.recv(1 << 20):
                messages.append(message)

    thread = threading.Thread(target=receive)
    thread.start()
    yield path, thread, messages
    thread.join()
    server.close()


def test_socket_gets_a_message_for_each_record(listener):
    path, thread, messages = listener
    output = SocketOutput(path)
    output.begin(0)
    for datum in (b"one", b"two", b"x" * 150_000):
        output.datum(datum)
    output.block(b"onetwo", 2)
    output.commit()
    thread.join()
    assert messages == [b"one", b"two", b"x" * 150_000]
    assert output.bytes_written == 150_006


def test_socket_and_file(listener, tmp_path):
    path, thread, messages = listener
    output = Both(file_output(tmp_path / "x.sf"), SocketOutput(path))
    assert output.begin(0) == str(tmp_path / "x.sf")
    output.datum(b"\x02")
    output.block(b"\x02", 1)
    output.commit()
    thread.join()
    assert messages == [b"\x02"]
    assert (tmp_path / "x.sf").stat().st_size == output.bytes_written - 1


def test_socket_that_nobody_listens_on(tmp_path):
    with pytest.raises(OutputError, match="cannot be connected to: No such file"):
        SocketOutput(str(tmp_path / "none"))
    with pytest.raises(OutputError, match="cannot be connected to"):
        SocketOutput("x" * 200)


def test_socket_whose_reader_is_gone(tmp_path):
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(str(tmp_path / "socket"))
    server.listen(1)
    output = SocketOutput(str(tmp_path / "socket"))
    server.accept()[0].close()
    server.close()
    with pytest.raises(OutputError, match="the reader has closed the socket"):
        output.datum(b"one")
    output.abandon()
