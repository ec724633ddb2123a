"""Objects asked for and written with little around the request: signed, sent over a connection that is kept, answered.

A request through boto3 takes 1.5 ms of a processor, this a tenth of it, and an export of small files is nothing but
requests. Only what is plain is done here: HEAD and PUT of an object in a bucket that is part of the path. What does not
succeed is asked again by boto3, which knows what answers mean.

The signature is AWS's Signature Version 4 in the Authorization header, as Amazon's S3 API reference has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

from sftools.limits import MAX_S3_BODY_BYTES, MAX_S3_HEAD_BYTES
from sftools.store.objects import Part, Unavailable

_OF_NOTHING = hashlib.sha256(b"").hexdigest()
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: |\r\n)")


class Keys(Protocol):
    """Credentials at one moment. token: of temporary ones."""

    access_key: str
    secret_key: str
    token: str | None


class Answer(NamedTuple):
    """status: of HTTP. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]


class DirectRequests:
    """Requests to one endpoint, from any number of threads.

    url: http or https, host and port. region: for the signature. ca_file: PEM, of TLS; None is the system's.
    connect, read: seconds to wait for a connection, and for each piece of an answer. connections: how many are kept.
    """

    def __init__(
        self, url: str, region: str, ca_file: str | None, *, connect: float, read: float, connections: int
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        name = f"[{self._host}]" if ":" in self._host else self._host
        self._host_header = (
            name if parts.port in (None, 80 if parts.scheme == "http" else 443) else f"{name}:{self._port}"
        )
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context(cafile=ca_file)
            # Since Python 3.13 it refuses what boto3 does not: CAs without the extensions of RFC 5280, as own ones are.
            self._tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._region = region
        self._connect_seconds, self._read_seconds = connect, read
        self._most = connections
        self._free: list[socket.socket] = []
        self._signing: tuple[tuple[str, str], bytes] = (("", ""), b"")

    def send(
        self,
        keys: Keys,
        method: str,
        path: str,
        headers: Mapping[str, str],
        query: Mapping[str, str] | None = None,
        body: Part | None = None,
    ) -> Answer:
        """path: not quoted yet, from `/`. headers: printable ASCII. Raises Unavailable where no answer comes, and what
        reading the body raises.
        """
        head = self._head(keys, method, path, headers, query or {}, body)
        while True:
            connection, used = self._connection()
            try:
                answer, keep = self._exchange(connection, head, body, method == "HEAD")
            except _Closed as error:
                connection.close()
                # A server may close what is idle just when it is used again. Writes are repeated as well: they are
                # conditional, or compared afterwards.
                if not used:
                    raise Unavailable(f"the connection breaks off: {error}") from None
            except OSError as error:
                connection.close()
                raise Unavailable(_words(error)) from None
            except BaseException:
                connection.close()
                raise
            else:
                if keep and len(self._free) < self._most:
                    self._free.append(connection)
                else:
                    connection.close()
                return answer

    def close(self) -> None:
        """Close the connections that are free."""
        while self._free:
            self._free.pop().close()

    # -- the signature

    def _head(
        self,
        keys: Keys,
        method: str,
        path: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        body: Part | None,
    ) -> bytes:
        """The request's first line and headers."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        day = now[:8]
        # Without TLS, the signature is all that protects the data on its way.
        payload = _OF_NOTHING if body is None else "UNSIGNED-PAYLOAD" if self._tls else body.sha256
        sent = {name.lower(): value for name, value in headers.items()}
        sent |= {"host": self._host_header, "x-amz-content-sha256": payload, "x-amz-date": now}
        if keys.token:
            sent["x-amz-security-token"] = keys.token
        names = sorted(sent)
        target = quote(path, safe="/~")
        words = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(query.items()))
        listed = ";".join(names)
        signed = [f"{name}:{' '.join(sent[name].split())}" for name in names]
        canonical = "\n".join([method, target, words, *signed, "", listed, payload])
        scope = f"{day}/{self._region}/s3/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._signing_key(keys.secret_key, day), to_sign.encode(), "sha256").hex()
        request = f"{method} {target}{'?' if words else ''}{words} HTTP/1.1\r\n"
        request += "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        if body is not None:
            request += f"content-length: {body.size}\r\n"
        return (
            f"{request}authorization: AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, "
            f"SignedHeaders={listed}, Signature={signature}\r\n\r\n"
        ).encode()

    def _signing_key(self, secret: str, day: str) -> bytes:
        known, key = self._signing
        if known != (secret, day):
            key = f"AWS4{secret}".encode()
            for word in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, word.encode(), "sha256")
            self._signing = ((secret, day), key)
        return key

    # -- the connection

    def _connection(self) -> tuple[socket.socket, bool]:
        """A connection, and whether it has been used before. Raises Unavailable."""
        while True:
            try:
                connection = self._free.pop()
            except IndexError:
                break
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            # What TLS has decrypted already, poll does not see.
            if not poll.poll(0) and not (isinstance(connection, ssl.SSLSocket) and connection.pending()):
                return connection, True
            connection.close()  # the server has closed it, or said what was not asked
        try:
            connection = socket.create_connection((self._host, self._port), self._connect_seconds)
        except OSError as error:
            raise Unavailable(f"cannot be reached: {_words(error)}") from None
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_hostname=self._host)
            connection.settimeout(self._read_seconds)
            if self._tls is None:
                # Kept by the kernel: settimeout() looks before each call whether it has to wait.
                seconds, fraction = divmod(self._read_seconds, 1)
                limit = struct.pack("ll", int(seconds), int(fraction * 1e6))
                with contextlib.suppress(OSError):  # of 32-bit systems whose times have 64
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
                    connection.settimeout(None)
        except OSError as error:
            connection.close()
            raise Unavailable(f"cannot be reached: {_words(error)}") from None
        return connection, False

    def _exchange(
        self, connection: socket.socket, head: bytes, body: Part | None, no_body: bool
    ) -> tuple[Answer, bool]:
        """The answer, and whether the connection may be used again. Raises OSError, _Closed."""
        try:
            for piece in body.pieces() if body else ():
                self._send(connection, head + piece if head else piece)
                head = b""
            if head:
                self._send(connection, head)
            broken = False
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            broken = True  # a server that refuses need not read everything
        answer, version, rest_of_it = self._answer(connection)
        headers = answer.headers
        keep = not broken and version == 1 and headers.get("connection", "").lower() != "close"
        if no_body or answer.status == 204:
            return answer, keep and not rest_of_it
        length = headers.get("content-length", "")
        if not keep or "transfer-encoding" in headers or not re.fullmatch(r"[0-9]{1,6}", length):
            return answer, False
        left = int(length) - len(rest_of_it)
        until = time.monotonic() + self._read_seconds
        while 0 < left <= MAX_S3_BODY_BYTES and time.monotonic() < until:
            data = connection.recv(left)
            if not data:
                break
            left -= len(data)
        return answer, left == 0

    def _send(self, connection: socket.socket, data: bytes) -> None:
        """All of it. Each piece has the whole time, so that a slow line does not end a long part.

        sendall() has no limit, as the kernel's is for each call: a server that takes byte after byte would hold the
        thread for weeks.
        """
        until = time.monotonic() + self._read_seconds
        rest = memoryview(data)
        while rest := rest[connection.send(rest) :]:
            if time.monotonic() > until:
                raise TimeoutError

    def _answer(self, connection: socket.socket) -> tuple[Answer, int, bytes]:
        """Status and headers, minor version of HTTP, and what came after them."""
        until = time.monotonic() + self._read_seconds
        buffer = b""
        while True:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                # Byte after byte, each in time, would hold the thread for weeks.
                if len(buffer) > MAX_S3_HEAD_BYTES or time.monotonic() > until:
                    raise Unavailable("the answer's headers do not end")
                try:
                    piece = connection.recv(MAX_S3_HEAD_BYTES)
                except ConnectionResetError as error:
                    raise _Closed(_words(error)) if not buffer else error from None
                if not piece:
                    raise _Closed("no answer") if not buffer else Unavailable("the answer breaks off")
                buffer += piece
                continue
            found = _STATUS.match(buffer)
            if found is None:
                raise Unavailable("does not answer as HTTP does")
            status, lines = int(found[2]), buffer[:end].decode("latin-1").split("\r\n")
            buffer = buffer[end + 4 :]
            if status >= 200:
                break
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Answer(status, headers), int(found[1]), buffer


def behind_proxy(url: str) -> bool:
    """Whether the environment names a proxy for a URL."""
    parts = urlsplit(url)
    return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")


class _Closed(Exception):
    """Closed by the server before anything of an answer."""


def _words(error: OSError) -> str:
    late = isinstance(error, TimeoutError | BlockingIOError)
    return "no answer in time" if late else error.strerror or str(error) or "breaks off"
