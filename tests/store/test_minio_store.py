"""MinioStore beside a server whose answers are too long; tests/export has it beside real ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sftools.store import minio_store
from sftools.store.boto_store import BucketOptions
from sftools.store.minio_store import MinioStore
from sftools.store.objects import Unavailable
from sftools.store.s3 import S3Options

pytest.importorskip("minio")

LIMIT = 1000
NO_UPLOADS = b"<ListMultipartUploadsResult/>"


class Server(ThreadingHTTPServer):
    """Answers with a list of no uploads. padding: how many blanks stand behind it; None: blanks without end."""

    daemon_threads = True
    padding: int | None = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *arguments: object) -> None: ...

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        padding = self.server.padding
        if padding is not None:
            self.send_header("Content-Length", str(len(NO_UPLOADS) + padding))
        self.end_headers()
        self.wfile.write(NO_UPLOADS + b" " * (padding or 0))
        try:
            while padding is None:
                self.wfile.write(b" " * 4096)
        except ConnectionError:
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def store(server: Server, monkeypatch: pytest.MonkeyPatch) -> MinioStore:
    monkeypatch.setattr(minio_store, "MAX_S3_ANSWER_BYTES", LIMIT)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    return MinioStore(BucketOptions(S3Options(url, access_key="access", secret_key="secret"), "bucket"))


def test_an_answer_as_long_as_may_be(store: MinioStore, server: Server) -> None:
    server.padding = LIMIT - len(NO_UPLOADS)
    assert store.uploads("key") == []


@pytest.mark.parametrize("padding", [LIMIT - len(NO_UPLOADS) + 1, None])
def test_an_answer_that_is_longer(store: MinioStore, server: Server, padding: int | None) -> None:
    server.padding = padding
    with pytest.raises(Unavailable, match="does not answer as S3 does \\(more than 1000 bytes\\)"):
        store.uploads("key")
