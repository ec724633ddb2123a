"""Where traces go: never over something, never under their name before they are complete."""

from __future__ import annotations

import os
import socket
from functools import partial

import pytest

from sftools import newfile
from sftools.avro.container import ContainerWriter
from sftools.avro.outputs import Both, FileOutput, SocketOutput, StreamOutput
from sftools.errors import OutputError
from sftools.newfile import Patience, is_temporary

container = partial(ContainerWriter, schema='"long"', codec="null", sync=bytes(16))


def file_output(path, **more):
    return FileOutput(lambda second: str(path), container, **more)


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


def test_live_captures_beside_each_other_take_the_next_free_second(tmp_path):
    """Complete or not, no file is overwritten, and the names of each capture's files are in their order."""
    first, second = (
        FileOutput(lambda second: f"{tmp_path}/{second}", container, splits=True, later=True) for _ in "12"
    )
    (tmp_path / "7").touch()
    assert first.begin(7) == f"{tmp_path}/8"
    assert second.begin(7) == f"{tmp_path}/9"
    assert second.next(8) == f"{tmp_path}/10"
    first.commit()
    assert first.begin(7) == f"{tmp_path}/11"
    first.abandon()
    second.commit()
    assert sorted(name for name in os.listdir(tmp_path) if not is_temporary(name)) == ["10", "7", "8", "9"]


def test_with_force_a_file_of_the_same_second_is_replaced(tmp_path):
    (tmp_path / "7").touch()
    output = FileOutput(lambda second: f"{tmp_path}/{second}", container, splits=True, later=True, force=True)
    assert output.begin(7) == f"{tmp_path}/7"
    assert output.next(7) == f"{tmp_path}/8"
    output.commit()
    assert sorted(os.listdir(tmp_path)) == ["7", "8"]


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


def test_socket_gets_a_message_for_each_record(listener):
    output = SocketOutput(listener.path)
    output.begin(0)
    for datum in (b"one", b"two", b"x" * 150_000):
        output.datum(datum)
    output.block(b"onetwo", 2)
    output.commit()
    assert listener.messages() == [b"one", b"two", b"x" * 150_000]
    assert output.bytes_written == 150_006


def test_socket_and_file(listener, tmp_path):
    output = Both(file_output(tmp_path / "x.sf"), SocketOutput(listener.path))
    assert output.begin(0) == str(tmp_path / "x.sf")
    output.datum(b"\x02")
    output.block(b"\x02", 1)
    output.commit()
    assert listener.messages() == [b"\x02"]
    assert (tmp_path / "x.sf").stat().st_size == output.bytes_written - 1


def test_socket_that_nobody_listens_on(short_path):
    with pytest.raises(OutputError, match="cannot be connected to: No such file"):
        SocketOutput(str(short_path / "none"))
    with pytest.raises(OutputError, match="cannot be connected to"):
        SocketOutput("x" * 200)


def test_socket_whose_reader_is_gone(short_path):
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(str(short_path / "socket"))
    server.listen(1)
    output = SocketOutput(str(short_path / "socket"))
    server.accept()[0].close()
    server.close()
    with pytest.raises(OutputError, match="the reader has closed the socket"):
        output.datum(b"one")
    output.abandon()


def test_socket_whose_reader_does_not_read(short_path, monkeypatch):
    monkeypatch.setattr(newfile, "_PATIENCE_SECONDS", 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(short_path / "socket"))
        server.listen(1)
        patience = Patience()
        output = SocketOutput(str(short_path / "socket"), patience)
        patience.end()

        def send_much():
            for _ in range(1000):
                output.datum(bytes(10_000))

        with pytest.raises(OutputError, match="socket: its reader does not read"):
            send_much()
        output.abandon()
