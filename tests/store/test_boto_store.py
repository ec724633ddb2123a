"""When a request goes without boto3, and what its answer tells."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from sftools.store.boto_store import BotoStore, BucketOptions, told_of
from sftools.store.direct import Answer
from sftools.store.objects import Part, Unavailable
from sftools.store.s3 import S3Options

DATA = b"of a part"
MD5 = hashlib.md5(DATA).digest()


class Requests:
    """Answers with the ETags that it is given. sent: the headers of each request."""

    def __init__(self, *etags: str) -> None:
        self.etags = list(etags)
        self.sent: list[Mapping[str, str]] = []

    def close(self) -> None: ...

    def send(
        self, keys: Any, method: str, path: str, headers: Mapping[str, str], query: Any, body: Part | None
    ) -> Answer:
        self.sent.append(headers)
        return Answer(200, {"etag": f'"{self.etags.pop(0)}"', "content-length": "0"})


def part(number: int) -> Part:
    return replace(Part.of(DATA, number), md5=MD5)


def store_with(requests: Requests, monkeypatch: pytest.MonkeyPatch, **keys: str) -> BotoStore:
    pytest.importorskip("boto3")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    given = {"access_key": "access", "secret_key": "secret"} | keys
    store = BotoStore(BucketOptions(S3Options("http://127.0.0.1:1", **given), "bucket"))
    assert store._requests is not None
    monkeypatch.setattr(store, "_requests", requests)
    return store


def test_etags_that_are_md5s_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a bucket that is encrypted from now on: one part is taken for damaged, not all that follow."""
    requests = Requests(MD5.hex(), "of ciphertext", "of ciphertext", MD5.hex(), MD5.hex())
    store = store_with(requests, monkeypatch)
    assert store.put_part("k", "upload", part(1)) == MD5.hex()
    with pytest.raises(Unavailable, match="part 2 of k was damaged on its way"):
        store.put_part("k", "upload", part(2))
    assert store.put_part("k", "upload", part(2)) == "of ciphertext"
    assert store.put_part("k", "upload", part(3)) == MD5.hex()
    assert store.put_part("k", "upload", part(4)) == MD5.hex()
    assert ["Content-MD5" in headers for headers in requests.sent] == [True, False, True, True, False]


def test_boto3_tells_what_is_wrong_with_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh of temporary ones may end in any error, and no key ends a header."""

    class Expired:
        def get_frozen_credentials(self) -> None:
            raise RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired.")

    requests = Requests("x")
    store = store_with(requests, monkeypatch)
    assert store._direct("HEAD", "k", {}) is not None
    monkeypatch.setattr(store, "_credentials", Expired())
    assert store._direct("HEAD", "k", {}) is None
    store = store_with(requests, monkeypatch, access_key="key\r\nx-amz-acl: public-read")
    assert store._direct("HEAD", "k", {}) is None
    assert len(requests.sent) == 1


@pytest.mark.parametrize(("size", "told"), [("5", 5), ("-5", -1), ("5 ", -1), ("9" * 5000, -1)])
def test_sizes_that_are_none(size: str, told: int) -> None:
    assert told_of({"content-length": size, "etag": '"x"'}, "place").size == told
