"""S3: against a real server (rclone), and against one that fails in the ways that real ones do."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import random
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sftools.errors import InputError, SftoolsError, UsageError
from sftools.source import Source
from sftools.store import s3
from sftools.store.s3 import S3Error, S3Object, S3Options, S3Store, credentials, endpoint_url, settled

ACCESS, SECRET = "the-access-key", "the-secret-key"
CONTENT = random.Random(1).randbytes(3_000_000)
VARIABLES = (
    "S3_ACCESS_KEY", "S3_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "HTTP_PROXY", "http_proxy",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own settings; no waiting between two attempts."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3, "SECRET_DIRECTORIES", ())
    monkeypatch.setattr(s3, "_RESUME_SECONDS", 0)
    monkeypatch.setattr(s3, "_ATTEMPTS", 1)


def read_all(source: Source) -> bytes:
    out = bytearray()
    room = memoryview(bytearray(100_000))
    with source:
        while n := source.readinto(room):
            out += room[:n]
    return bytes(out)


def message(error: pytest.ExceptionInfo[SftoolsError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert SECRET not in text
    return text


# -- a real server


@pytest.fixture(scope="module")
def rclone(s3_server: Any) -> str:
    """The URL of a server with two buckets."""
    assert (s3_server.access_key, s3_server.secret_key) == (ACCESS, SECRET)
    for key in ("x1.sf", "x2.sf", "x10.sf", "day/20.sf", "day/deep/1.sf", "großes $ %41+ø.sf"):
        path = s3_server.root / "traces" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())
    (s3_server.root / "traces" / "large").write_bytes(CONTENT)
    (s3_server.root / "traces" / "large.gz").write_bytes(gzip.compress(CONTENT, 1))
    many = s3_server.root / "many"
    many.mkdir(exist_ok=True)
    for i in range(1500):
        (many / str(i)).touch()
    return s3_server.url


def store(url: str, **options: object) -> S3Store:
    return S3Store(S3Options(**{"endpoint": url, "access_key": ACCESS, "secret_key": SECRET, **options}))  # type: ignore[arg-type]


def test_listing_goes_down_into_directories(rclone: str) -> None:
    found = {entry.key: entry for entry in store(rclone).list("traces")}
    assert set(found) == {
        "x1.sf", "x2.sf", "x10.sf", "day/20.sf", "day/deep/1.sf", "großes $ %41+ø.sf", "large", "large.gz",
    }  # fmt: skip
    assert found["day/deep/1.sf"] == S3Object("traces", "day/deep/1.sf", 13)
    assert found["large"].name == "s3://traces/large"


def test_listing_with_a_prefix(rclone: str) -> None:
    assert [entry.key for entry in store(rclone).list("traces", "day/")] == ["day/20.sf", "day/deep/1.sf"]
    assert list(store(rclone).list("traces", "night/")) == []


def test_listing_of_several_pages(rclone: str) -> None:
    keys = {entry.key for entry in store(rclone).list("many")}
    assert keys == {str(i) for i in range(1500)}


def test_listing_has_an_end(rclone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "MAX_S3_OBJECTS", 1200)
    with pytest.raises(S3Error) as error:
        list(store(rclone).list("many"))
    assert message(error) == "s3://many/: holds more than 1200 objects; name a longer prefix"


@pytest.mark.parametrize("key", ["large", "large.gz"])
def test_an_object_is_read_and_decompressed(rclone: str, key: str) -> None:
    [found] = [entry for entry in store(rclone).list("traces", key) if entry.key == key]
    source = store(rclone).open(found)
    assert (source.name, source.size) == (f"s3://traces/{key}", found.size)
    assert read_all(source) == CONTENT


def test_any_key(rclone: str) -> None:
    key = "großes $ %41+ø.sf"
    assert read_all(store(rclone).open(S3Object("traces", key, 21))) == key.encode()


def test_keys_of_the_environment(rclone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert list(store(rclone, access_key=None, secret_key=None).list("traces", "x"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", rclone)
    assert list(S3Store(S3Options()).list("traces", "x"))


@pytest.mark.parametrize(
    ("options", "bucket", "expected"),
    [
        ({}, "nothing", "s3://nothing/: there is no such bucket"),
        ({}, "no bucket!", "s3://no bucket!/: is no name of a bucket or object"),
        ({"secret_key": SECRET + "x"}, "traces", "s3://traces/: access denied: the secret key is wrong"),
        ({"access_key": "somebody-else"}, "traces", "s3://traces/: access denied: the access key is not known there"),
        ({"access_key": None, "secret_key": None}, "traces",
         "s3://traces/: no credentials for it; S3_ACCESS_KEY and S3_SECRET_KEY, or what the AWS tools use"),
    ],
)  # fmt: skip
def test_what_is_refused(rclone: str, options: dict[str, str], bucket: str, expected: str) -> None:
    with pytest.raises(S3Error) as error:
        list(store(rclone, **options).list(bucket))
    assert message(error) == expected


def test_an_object_that_is_gone(rclone: str) -> None:
    with pytest.raises(S3Error) as error:
        store(rclone).open(S3Object("traces", "gone", 1))
    assert message(error) == "s3://traces/gone: is gone: it was deleted while it was read"


def test_tls_to_a_server_without_it(rclone: str) -> None:
    with pytest.raises(S3Error) as error:
        list(store(rclone.replace("http:", "https:")).list("traces"))
    place = rclone.replace("http:", "https:")
    expected = f"s3://traces/: {place} cannot be spoken to with TLS; a wrong port, certificate, or --secure no?"
    assert message(error) == expected


# -- a server that fails


class Faulty(http.server.ThreadingHTTPServer):
    """Has one object, CONTENT, whatever the name. What it answers to the n-th request is behave(n, handler)."""

    def __init__(self, behave: Callable[[int, http.server.BaseHTTPRequestHandler], None]) -> None:
        self.ranges: list[str | None] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.ranges.append(self.headers.get("Range"))
                behave(len(server.ranges) - 1, self)
                self.close_connection = True

            def log_message(self, *arguments: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def serving(behave: Callable[[int, http.server.BaseHTTPRequestHandler], None]) -> Iterator[Faulty]:
    with Faulty(behave) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def answer(handler: http.server.BaseHTTPRequestHandler, send: int, etag: str = '"1"', resumes: bool = True) -> None:
    """CONTENT from where the request asks, of which only `send` bytes are sent."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "")
    start = int(asked[1]) if asked and resumes else 0
    handler.send_response(206 if start else 200)
    handler.send_header("Content-Length", str(len(CONTENT) - start))
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    handler.send_header("ETag", etag)
    handler.end_headers()
    handler.wfile.write(CONTENT[start : start + send])


OBJECT = S3Object("b", "x", len(CONTENT))


def test_a_broken_download_goes_on_where_it_broke() -> None:
    def behave(n: int, handler: http.server.BaseHTTPRequestHandler) -> None:
        answer(handler, 1_000_000)

    with serving(behave) as server:
        assert read_all(store(server.url).open(OBJECT)) == CONTENT
    assert server.ranges[0] is None
    assert len(server.ranges) >= 3
    assert all(re.fullmatch(r"bytes=\d+-", asked or "") for asked in server.ranges[1:])


def test_a_server_that_never_gets_on_is_given_up() -> None:
    def behave(n: int, handler: http.server.BaseHTTPRequestHandler) -> None:
        answer(handler, 300_000 if n == 0 else 0)

    with serving(behave) as server, pytest.raises(S3Error) as error:
        read_all(store(server.url).open(OBJECT))
    assert re.fullmatch(rf"s3://b/x at offset \d+: the connection to {server.url} keeps breaking", message(error))
    assert len(server.ranges) == 1 + s3._RESUMES


def test_an_object_that_is_replaced_meanwhile_is_noticed() -> None:
    asked: list[str | None] = []

    def other_tag(n: int, handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers.get("If-Match"))
        answer(handler, 1_000_000, etag=f'"{n}"')

    def refuses(n: int, handler: http.server.BaseHTTPRequestHandler) -> None:
        if n == 0:
            answer(handler, 1_000_000)
        else:
            handler.send_error(412)

    for behave in (other_tag, refuses):
        with serving(behave) as server, pytest.raises(S3Error, match="was replaced while it was read"):
            read_all(store(server.url).open(OBJECT))
        assert len(server.ranges) == 2
    assert asked == [None, '"0"']


def test_a_server_that_does_not_resume() -> None:
    def behave(n: int, handler: http.server.BaseHTTPRequestHandler) -> None:
        answer(handler, 1_000_000, resumes=False)

    with serving(behave) as server, pytest.raises(S3Error, match="does not resume downloads"):
        read_all(store(server.url).open(OBJECT))


def test_a_server_that_is_something_else() -> None:
    def page(n: int, handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"<html><body>hello<p></body>")

    def secretive(n: int, handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(400)
        handler.end_headers()
        handler.wfile.write(b"<Error><Code>Odd</Code><Message>" + b"a\x7f\nb" * 1000 + b"</Message></Error>")

    with serving(page) as server, pytest.raises(S3Error) as error:
        list(store(server.url).list("b"))
    assert message(error) == f"s3://b/: {server.url} does not answer as S3 does (500); is it the right port?"
    with serving(lambda n, handler: handler.send_error(404)) as server, pytest.raises(S3Error) as error:
        list(store(server.url).list("b"))
    assert message(error) == f"s3://b/: {server.url} does not answer as S3 does (404); is it the right port?"
    with serving(secretive) as server, pytest.raises(S3Error) as error:
        list(store(server.url).list("b"))
    assert message(error).startswith(f"s3://b/: {server.url} refuses it: Odd a b")
    assert len(message(error)) < 300


def test_nobody_listens() -> None:
    with socket.socket() as taken:  # so that nobody else listens at it either
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(S3Error) as error:
            list(store(url).list("b"))
        assert message(error) == f"s3://b/: {url} cannot be reached (Connection refused)"
        with pytest.raises(S3Error) as error:
            store(url).open(OBJECT)
        assert message(error) == f"s3://b/x: {url} cannot be reached (Connection refused)"


# -- options


@pytest.mark.parametrize(
    ("options", "url"),
    [
        (S3Options(), None),
        (S3Options("s3.example"), "https://s3.example"),
        (S3Options("s3.example", secure=False), "http://s3.example"),
        (S3Options("s3.example", port=9000), "https://s3.example:9000"),
        (S3Options("s3.example:9000"), "https://s3.example:9000"),
        (S3Options("s3.example:9000", port=9001), "https://s3.example:9001"),
        (S3Options("http://s3.example:9000/"), "http://s3.example:9000"),
        (S3Options("https://s3.example", secure=False), "https://s3.example"),
        (S3Options("[::1]:9000"), "https://[::1]:9000"),
    ],
)
def test_endpoints(options: S3Options, url: str | None) -> None:
    assert endpoint_url(options) == url


@pytest.mark.parametrize(
    "given",
    ["http://", "ftp://x", "x/bucket", "x:y", "http://u:pass@x", "u:pass@x", "[::1", "x:99999", "a b", "a/b"],
)
def test_no_endpoints(given: str) -> None:
    with pytest.raises(UsageError) as error:
        endpoint_url(S3Options(given))
    assert "pass" not in str(error.value)


def test_what_options_leave_open_the_environment_tells() -> None:
    environ = {"S3_ENDPOINT": "h", "S3_PORT": "9000", "S3_SECURE": "No", "S3_REGION": "r", "S3_PATH_STYLE": "1"}
    assert settled(S3Options(), environ) == S3Options("h", 9000, secure=False, region="r", path_style=True)
    given = S3Options("e", 1, secure=True, region="s", path_style=False)
    assert settled(given, environ) == given
    assert settled(S3Options(), {"S3_ENDPOINT": " ", "S3_SECURE": ""}) == S3Options()
    for name in ("S3_PORT", "S3_SECURE", "S3_PATH_STYLE"):
        with pytest.raises(UsageError, match=f"{name}='maybe': a|{name}='maybe': yes or no"):
            settled(S3Options(), {name: "maybe"})


def test_options_go_before_the_environment_and_that_before_files(tmp_path: Path) -> None:
    (tmp_path / "k8s").mkdir()
    (tmp_path / "s3_access_key").write_text("file\n")
    (tmp_path / "k8s" / "s3_secret_key").write_text("secret file\n")
    places = (str(tmp_path), str(tmp_path / "k8s"))
    environ = {"S3_ACCESS_KEY": "env", "S3_SECRET_KEY": "secret env", "AWS_ACCESS_KEY_ID": "aws"}
    options = S3Options(access_key="option", secret_key="secret option")
    assert credentials(options, environ, places) == ("option", "secret option")
    assert credentials(S3Options(access_key="option"), environ, places) == ("option", "secret env")
    assert credentials(S3Options(), environ, places) == ("env", "secret env")
    with_newlines = {name: f"{value}\n" for name, value in environ.items()}
    assert credentials(S3Options(), with_newlines, places) == ("env", "secret env")
    assert credentials(S3Options(), {"AWS_ACCESS_KEY_ID": "aws"}, places) is None
    assert credentials(S3Options(), {}, places) == ("file", "secret file")
    assert credentials(S3Options(), {}, ()) is None
    assert "secret option" not in repr(options)


def test_half_of_the_credentials(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an access key without the secret key: --s3secretkey, S3_SECRET_KEY or"):
        credentials(S3Options(access_key="a"), {}, (str(tmp_path),))
    with pytest.raises(UsageError, match="a secret key without the access key: --s3accesskey, S3_ACCESS_KEY or"):
        credentials(S3Options(), {"S3_SECRET_KEY": "x"}, (str(tmp_path),))


def test_a_secret_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "s3_access_key").mkdir()
    with pytest.raises(InputError, match="s3_access_key: cannot be read: Is a directory"):
        credentials(S3Options(), {}, (str(tmp_path),))


def test_without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SftoolsError) as error:
        S3Store(S3Options())
    assert message(error) == "S3 needs boto3, which is not installed: pip install 'sftools[s3]'"
