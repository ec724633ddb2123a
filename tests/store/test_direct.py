"""Requests without boto3: signed as botocore signs them, and safe with whatever answers."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from sftools.errors import SftoolsError
from sftools.store import direct
from sftools.store.direct import DirectRequests, behind_proxy
from sftools.store.objects import PIECE_BYTES, Part, Unavailable

KEYS = ReadOnlyCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None)


def body_of(data: bytes) -> Part:
    return replace(Part.of(data), sha256=hashlib.sha256(data).hexdigest())


def requests_to(port: int, read: float = 20) -> DirectRequests:
    return DirectRequests(f"http://127.0.0.1:{port}", "us-east-1", None, connect=20, read=read, connections=2)


class Peer:
    """A server that answers each request as the test says, and notes what came."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.answers: list[bytes | Callable[[socket.socket], None]] = []
        """For each request: bytes, after which the connection stays; or what is done with it, before it is closed."""
        self.requests: list[bytes] = []
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, contextlib.suppress(OSError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        while self.answers and (request := self._request(connection)):
            self.requests.append(request)
            answer = self.answers.pop(0)
            if not isinstance(answer, bytes):
                answer(connection)
                return
            connection.sendall(answer)

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
        while len(body) < length:
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def tls_peer(tmp_path: Path) -> Iterator[tuple[Peer, DirectRequests]]:
    """With a certificate of its own, and requests to it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made = Peer(context)
    requests = DirectRequests(
        f"https://127.0.0.1:{made.port}", "us-east-1", certificate, connect=20, read=20, connections=2
    )
    yield made, requests
    requests.close()
    made.close()


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda name: f"x-amz-meta-{name}")


@settings(deadline=None)
@given(
    method=st.sampled_from(["HEAD", "PUT"]),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).map(
        lambda key: key.replace("/", "")
    ),
    meta=st.dictionaries(TOKENS, TEXT.map(str.strip), max_size=4),
    query=st.dictionaries(st.sampled_from(["partNumber", "uploadId"]), TEXT, max_size=2),
    data=st.binary(max_size=50),
    token=st.none() | st.just("session/token=="),
    port=st.sampled_from(["", ":80", ":7480"]),
)
def test_signed_as_botocore_signs(
    method: str, key: str, meta: dict[str, str], query: dict[str, str], data: bytes, token: str | None, port: str
) -> None:
    url, keys = f"http://s3.example{port}", KEYS._replace(token=token)
    ours = DirectRequests(url, "eu-central-1", None, connect=1, read=1, connections=1)
    path = f"/bucket/2024/{key}"
    lines = ours._head(keys, method, path, meta, query, body_of(data) if data else None).decode().split("\r\n")
    sent = dict(line.split(": ", 1) for line in lines[1:-2])

    target = lines[0].split(" ")[1].partition("?")[0]
    signed = {name: value for name, value in sent.items() if name not in ("authorization", "content-length")}
    request = AWSRequest(method, url + target, signed, data, dict(query))
    request.context["timestamp"] = sent["x-amz-date"]
    signer = S3SigV4Auth(keys, "s3", "eu-central-1")
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    names = ";".join(sorted(signed))
    assert sent["authorization"].endswith(f" SignedHeaders={names}, Signature={expected}")
    assert {"host", "x-amz-content-sha256"} | set(meta) <= set(signed)


def test_a_connection_is_kept(peer: Peer) -> None:
    peer.answers = [
        b'HTTP/1.1 200 OK\r\nETag: "abc"\r\nContent-Length: 0\r\n\r\n',
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Amz-Meta-A:  b \r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ]
    requests = requests_to(peer.port)
    data = bytes(range(256)) * 4000
    assert requests.send(KEYS, "PUT", "/b/k", {"content-md5": "x"}, None, body_of(data)).headers["etag"] == '"abc"'
    assert requests.send(KEYS, "HEAD", "/b/k", {}).headers == {"content-length": "5", "x-amz-meta-a": "b"}
    assert requests.send(KEYS, "PUT", "/b/k", {}).status == 204
    assert peer.connections == 1
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    assert body == data
    assert f"x-amz-content-sha256: {hashlib.sha256(data).hexdigest()}".encode() in head
    requests.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 000000000" + b"9" * 20 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 000000000" + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nmore than one",
    ],
)
def test_a_connection_is_not_kept_where_its_state_is_not_known(peer: Peer, answer: bytes) -> None:
    peer.answers = [lambda connection: connection.sendall(answer), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    requests = requests_to(peer.port)
    assert [requests.send(KEYS, "PUT", "/b/k", {}).status for _ in range(2)] == [200, 200]
    assert peer.connections == 2


def test_idle_connections_that_the_server_closes_cost_nothing(peer: Peer) -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    peer.answers = [ok, lambda connection: None, ok]  # answers, then closes instead of answering, then answers
    requests = requests_to(peer.port)
    assert [requests.send(KEYS, "PUT", "/b/k", {}).status for _ in range(2)] == [200, 200]
    assert peer.connections == 2


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"", "breaks off"),
        (b"HTTP/1.1 20", "breaks off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "does not answer as HTTP does"),
        (b"HTTP/2 200\r\n\r\n", "does not answer as HTTP does"),
        (b"HTTP/1.1 999 Odd\r\n\r\n", "does not answer as HTTP does"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 40_000, "headers do not end"),
    ],
)
def test_hostile_answers(peer: Peer, answer: bytes, what: str) -> None:
    peer.answers = [lambda connection: connection.sendall(answer)]
    with pytest.raises(Unavailable, match=what):
        requests_to(peer.port).send(KEYS, "HEAD", "/b/k", {})


def test_a_server_that_sends_byte_after_byte(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 9))
    monkeypatch.setattr(direct.time, "monotonic", lambda: next(now))

    def drip(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nand so on, a byte in time for each read":
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(bytes([byte]))
        connection.recv(1)

    peer.answers = [drip]
    with pytest.raises(Unavailable, match=r"headers do not end|no answer in time"):
        requests_to(peer.port, read=1).send(KEYS, "HEAD", "/b/k", {})


def test_a_body_byte_after_byte_costs_the_connection(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1_000_000, 9))
    monkeypatch.setattr(direct.time, "monotonic", lambda: next(now))
    given_up = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
        try:
            for _ in range(3000):
                connection.sendall(b"x")
                given_up.wait(0.001)
        except OSError:
            given_up.set()

    peer.answers = [drip]
    assert requests_to(peer.port).send(KEYS, "PUT", "/b/k", {}).status == 200
    assert given_up.wait(60)


def test_tls_connections_are_kept(tls_peer: tuple[Peer, DirectRequests]) -> None:
    peer, requests = tls_peer
    peer.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345"] * 3
    data = bytes(1 << 20)
    assert [requests.send(KEYS, "PUT", "/b/k", {}, None, body_of(data)).status for _ in range(3)] == [200] * 3
    assert peer.connections == 1
    assert all(b"x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n" in request for request in peer.requests)


def test_what_tls_holds_back_is_no_answer_to_the_next_request(tls_peer: tuple[Peer, DirectRequests]) -> None:
    peer, requests = tls_peer
    # The end of the body and what follows it are in one record of TLS: once it is read, the socket is empty.
    body, more = bytes(20_000), b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    peer.answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + body + more,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ]
    assert [requests.send(KEYS, "PUT", "/b/k", {}).status for _ in range(2)] == [200, 200]
    assert peer.connections == 2


def test_a_refusal_before_everything_is_sent(peer: Peer) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n")

    peer.answers = [refuse]
    assert requests_to(peer.port).send(KEYS, "PUT", "/b/k", {}, None, body_of(bytes(100))).status == 503


def test_a_file_that_cannot_be_read_any_more_is_not_the_servers_fault(peer: Peer) -> None:
    def read(at: int, size: int) -> bytes:
        if at:
            raise SftoolsError("cannot be read")
        return bytes(size)

    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    peer.answers = [ok, ok]
    requests = requests_to(peer.port)
    with pytest.raises(SftoolsError, match="cannot be read") as error:
        requests.send(KEYS, "PUT", "/b/k", {}, None, Part(1, 0, 2 * PIECE_BYTES, read))
    assert not isinstance(error.value, Unavailable)
    assert not requests._free


@pytest.mark.parametrize("error", [BrokenPipeError, ConnectionResetError, ssl.SSLEOFError])
def test_the_answer_is_read_although_sending_breaks_off(error: type[OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    class Refuses:
        def send(self, data: bytes) -> int:
            raise error

        def recv(self, size: int) -> bytes:
            return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"

        def close(self) -> None: ...

    requests = requests_to(1)
    monkeypatch.setattr(requests, "_connection", lambda: (Refuses(), False))
    assert requests.send(KEYS, "PUT", "/b/k", {}, None, body_of(bytes(1 << 20))).status == 403
    assert not requests._free


def test_a_server_that_takes_byte_after_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in time."""
    now = [0.0]

    class Slow:
        def send(self, data: bytes) -> int:
            now[0] += 1
            return 1

        def sendall(self, data: bytes) -> None:
            for _ in data:
                self.send(data)

        def recv(self, size: int) -> bytes:
            return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

        def close(self) -> None: ...

    requests = requests_to(1, read=20)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(requests, "_connection", lambda: (Slow(), False))
    with pytest.raises(Unavailable, match="no answer in time"):
        requests.send(KEYS, "PUT", "/b/k", {}, None, body_of(bytes(1000)))


def test_a_server_that_does_not_answer(peer: Peer) -> None:
    peer.answers = [lambda connection: (connection.recv(1), None)[1]]
    with pytest.raises(Unavailable, match="no answer in time"):
        requests_to(peer.port, read=0.05).send(KEYS, "HEAD", "/b/k", {})


def test_nobody_there() -> None:
    with socket.socket() as taken:  # so that nobody else listens at it either
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="cannot be reached: Connection refused"):
            requests_to(taken.getsockname()[1]).send(KEYS, "HEAD", "/b/k", {})


def test_proxies_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert not behind_proxy("https://s3.example")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert behind_proxy("https://s3.example")
    assert not behind_proxy("http://s3.example")
    monkeypatch.setenv("no_proxy", "example")
    assert not behind_proxy("https://s3.example")
