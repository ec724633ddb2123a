"""One question to a gRPC server on a unix socket, and its answer: as much HTTP/2 and Protobuf as the CRI needs.

Specifications: RFC 9113 (HTTP/2), RFC 7541 (HPACK), grpc's PROTOCOL-HTTP2.md, Protobuf's guide to its encoding.
Own code, because the libraries are large beside it: headers are sent as literals and never read, so that there is no
HPACK state; one stream, one message each way; all that may come is let come at once, so that there is no flow control.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from sftools.limits import KIB, MAX_LIVE_ANSWER_BYTES

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS, _PADDED = 4, 8
_INITIAL_WINDOW_SIZE = 4
# What a frame may hold where no other size was agreed on.
_MAX_FRAME = 16 * KIB


class GrpcError(Exception):
    """No answer: the text says why."""


def call(connection: socket.socket, path: str, message: bytes) -> bytes:
    """The answer's message to a unary call of `path` (/package.Service/Method) on a new connection.

    Raises GrpcError for a refusal (whatever its status: that stands in headers, which are not read), for what is no
    gRPC and for an answer above MAX_LIVE_ANSWER_BYTES, and OSError as the socket does.
    """
    settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, MAX_LIVE_ANSWER_BYTES)
    request = b"\0" + struct.pack(">I", len(message)) + message
    if len(request) > _MAX_FRAME:
        raise GrpcError("the question is too long")
    connection.sendall(
        _PREFACE
        + _frame(_SETTINGS, 0, 0, settings)
        + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", MAX_LIVE_ANSWER_BYTES))
        + _frame(_HEADERS, _END_HEADERS, 1, _headers(path))
        + _frame(_DATA, _END_STREAM, 1, request)
    )
    data = bytearray()
    while True:
        head = _take(connection, 9)
        size, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big")
        if size > _MAX_FRAME:
            raise GrpcError("not an HTTP/2 server")
        body = _take(connection, size)
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
            # A server that is done may hang up at once: its answer is on the way.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(_frame(kind, _ACK, 0, body if kind == _PING else b""))
        elif kind == _GOAWAY or (kind == _RST_STREAM and stream == 1):
            raise GrpcError("the server ended the call")
        elif kind == _DATA and stream == 1:
            if flags & _PADDED:
                body = body[1 : len(body) - body[0]] if body else b""
            data += body
            if len(data) > MAX_LIVE_ANSWER_BYTES:
                raise GrpcError("the answer is too long")
        if kind in (_DATA, _HEADERS) and stream == 1 and flags & _END_STREAM:
            return _message(bytes(data))


def _message(data: bytes) -> bytes:
    if len(data) < 5:
        raise GrpcError("the server refused the call")
    compressed, size = struct.unpack_from(">BI", data)
    if compressed or size != len(data) - 5:
        raise GrpcError("the answer is not one plain message")
    return data[5:]


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def _headers(path: str) -> bytes:
    """HPACK: every field as a literal that is not to be remembered."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


def _take(connection: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = connection.recv(size - len(found))
        if not piece:
            raise GrpcError("the server closed the connection")
        found += piece
    return bytes(found)


# Protobuf


def text_field(number: int, text: str) -> bytes:
    """A string field of a message. Raises ValueError where it has more than 127 bytes, or is no text."""
    data = text.encode()
    if len(data) > 127:
        raise ValueError(f"a text of {len(data)} bytes")
    return bytes([number << 3 | 2, len(data)]) + data


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of a message's fields: bytes for strings and messages, integers for the rest.

    Raises GrpcError where it is cut or is none.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(kind, -1)
        if kind == 2:
            size, at = _varint(message, at)
        if size < 0 or size > len(message) - at:
            raise GrpcError("the answer's message is damaged")
        data = message[at : at + size]
        at += size
        yield number, data if kind == 2 else int.from_bytes(data, "little")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise GrpcError("the answer's message is damaged")
