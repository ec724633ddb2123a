"""Calls over HTTP/2: to a real server (grpcio's, where it is installed), and to those that are none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.limits import MAX_LIVE_ANSWER_BYTES
from sftools.live import grpc


@pytest.fixture
def real_server(tmp_path: Path) -> Iterator[str]:
    """A gRPC server that answers /test.Echo/Echo with what it got, /test.Echo/Long with as much as is asked."""
    library: Any = pytest.importorskip("grpc")

    def echo(request: bytes, context: Any) -> bytes:
        return request

    def long(request: bytes, context: Any) -> bytes:
        return bytes(int(request))

    def refuse(request: bytes, context: Any) -> bytes:
        context.abort(library.StatusCode.NOT_FOUND, "no such container")

    handlers = {
        name: library.unary_unary_rpc_method_handler(method)
        for name, method in (("Echo", echo), ("Long", long), ("Refuse", refuse))
    }
    server = library.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((library.method_handlers_generic_handler("test.Echo", handlers),))
    path = str(tmp_path / "grpc.sock")
    server.add_insecure_port(f"unix:{path}")
    server.start()
    yield path
    server.stop(None).wait()


def ask(path: str, method: str, message: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(path)
        return grpc.call(connection, f"/test.Echo/{method}", message)


@pytest.mark.parametrize("message", [b"", b"a", bytes(range(256)) * 40])
def test_a_real_server_answers(real_server: str, message: bytes) -> None:
    assert ask(real_server, "Echo", message) == message


def test_an_answer_of_many_frames(real_server: str) -> None:
    assert len(ask(real_server, "Long", b"900000")) == 900_000


def test_a_refusal_is_no_answer(real_server: str) -> None:
    with pytest.raises(grpc.GrpcError):
        ask(real_server, "Refuse", b"")
    with pytest.raises(grpc.GrpcError):
        ask(real_server, "NoSuchMethod", b"")


def test_a_question_that_is_too_long(real_server: str) -> None:
    with pytest.raises(grpc.GrpcError, match="too long"):
        ask(real_server, "Echo", bytes(20_000))


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def said_by(answer: Callable[[socket.socket], None]) -> bytes:
    """What call() makes of a server that reads the question and then says `answer`."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs:
            theirs.settimeout(30)
            try:
                theirs.recv(65536)
                answer(theirs)
            except OSError:
                pass

    with ours:
        ours.settimeout(30)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            return grpc.call(ours, "/a/b", b"q")
        finally:
            ours.close()
            thread.join()


SETTINGS = frame(4, 0, 0, b"")
MESSAGE = b"\0\0\0\0\3abc"


def test_settings_and_pings_are_acknowledged() -> None:
    got = []

    def answer(server: socket.socket) -> None:
        server.sendall(SETTINGS + frame(6, 0, 0, b"12345678"))
        data = b""
        while len(data) < 26 and (piece := server.recv(100)):
            data += piece
        got.append(data)
        server.sendall(frame(1, 4, 1, b"") + frame(0, 8, 1, b"\2" + MESSAGE + b"xx") + frame(1, 5, 1, b""))

    assert said_by(answer) == b"abc"
    assert got == [frame(4, 1, 0, b"") + frame(6, 1, 0, b"12345678")]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff" * 100,
        SETTINGS,
        SETTINGS + frame(7, 0, 0, bytes(8)),
        SETTINGS + frame(3, 0, 1, bytes(4)),
        SETTINGS + frame(1, 5, 1, b"trailers only"),
        SETTINGS + frame(0, 1, 1, b"\0\0\0\0\7abc"),
        SETTINGS + frame(0, 1, 1, b"\1\0\0\0\3abc"),
        SETTINGS + frame(0, 9, 1, b""),
        SETTINGS + frame(0, 9, 1, b"\xffabc"),
    ],
)
def test_what_is_no_answer(answer: bytes) -> None:
    with pytest.raises((grpc.GrpcError, ConnectionError)):
        said_by(lambda server: server.sendall(answer))


def test_an_answer_without_end() -> None:
    def answer(server: socket.socket) -> None:
        for _ in range(MAX_LIVE_ANSWER_BYTES // 16000 + 2):
            server.sendall(frame(0, 0, 1, bytes(16000)))

    with pytest.raises(grpc.GrpcError, match="too long"):
        said_by(answer)


# Protobuf


def test_fields() -> None:
    message = b"\x0a\x03abc" + b"\x10\x96\x01" + b"\x1d\1\0\0\0" + b"\x21" + bytes(7) + b"\1" + b"\x0a\0"
    assert list(grpc.fields(message)) == [(1, b"abc"), (2, 150), (3, 1), (4, 1 << 56), (1, b"")]
    assert grpc.text_field(1, "abc") == b"\x0a\x03abc"


@pytest.mark.parametrize(
    "message", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\x10", b"\x80" * 20, b"\x0a\xff\xff\xff\xff\x7f"]
)
def test_damaged_messages(message: bytes) -> None:
    with pytest.raises(grpc.GrpcError):
        list(grpc.fields(message))


@given(st.binary(max_size=200))
def test_any_message_is_read_or_refused(message: bytes) -> None:
    try:
        found = list(grpc.fields(message))
    except grpc.GrpcError:
        return
    assert all(isinstance(value, (int, bytes)) for _, value in found)
