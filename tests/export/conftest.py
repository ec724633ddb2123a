"""A proxy between the exporter and a real server that does what bad networks and busy servers do."""

from __future__ import annotations

import http.client
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
ANSWERS = {
    "500": (500, b"<Error><Code>InternalError</Code><Message>x</Message></Error>"),
    "503": (503, b"<html>busy"),
    "slow down": (503, SLOW_DOWN),
    "403": (403, b"<Error><Code>AccessDenied</Code><Message>x</Message></Error>"),
    "expired": (400, b"<Error><Code>ExpiredToken</Code><Message>x</Message></Error>"),
    "501": (501, b"<Error><Code>NotImplemented</Code><Message>x</Message></Error>"),
    "no xml": (200, b"hello"),
}


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to `upstream`, but where behave(method, path) names a fault.

    refuse: closes. damage: one bit of the body is another. cut request: the server gets half the body. cut answer: the
    server does what was asked, and the answer is lost. truncate: of the answer's body, half arrives. hang: no answer as
    long as the proxy runs.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.behave: Callable[[str, str], str] = lambda method, path: ""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are what this is for."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: Proxy

    def log_message(self, *arguments: object) -> None: ...

    def _pass(self) -> None:
        proxy = self.server
        proxy.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        fault = proxy.behave(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault == "damage" and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if fault == "refuse":
            self._cut()
            return
        if fault == "hang":
            proxy.ended.wait(self.timeout)
            self._cut()
            return
        if fault in ANSWERS:
            self._answer(*ANSWERS[fault], {})
            return
        onward = http.client.HTTPConnection(proxy.upstream, timeout=self.timeout)
        try:
            onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    onward.putheader(name, value)
            onward.endheaders()
            if fault == "cut request":
                onward.send(body[: len(body) // 2])
                onward.close()
                self._cut()
                return
            onward.send(body)
            answer = onward.getresponse()
            data = answer.read()
        finally:
            onward.close()
        if fault == "cut answer":
            self._cut()
            return
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding")}
        self._answer(answer.status, data, headers, fault == "truncate")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    def _answer(self, status: int, data: bytes, headers: dict[str, str], truncated: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if "content-length" not in map(str.lower, headers) or self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if truncated else data)
        if truncated:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(bucket: Any) -> Iterator[Proxy]:
    """Before the server of `bucket`, whose env now leads through it."""
    with Proxy(bucket.server.url) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        bucket.env = bucket.env | {"S3_ENDPOINT": server.url}
        yield server
        server.ended.set()
        server.shutdown()
