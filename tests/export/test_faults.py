"""The whole exporter, a real server, and a proxy between them that fails: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sftools.tools.sf_exporter import main

FAULTS = (
    "refuse",
    "damage",
    "cut request",
    "cut answer",
    "truncate",
    "hang",
    "500",
    "503",
    "slow down",
    "no xml",
    "expired",
)
LARGE = 9 << 20  # two parts
EPOCH = 1_714_557_600


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sftools.export.lane.FIRST_BACKOFF", 0.001)
    monkeypatch.setattr("sftools.export.lane.ONCE_LONGEST_BACKOFF", 0.01)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Name to content of files in tmp_path/in."""
    (tmp_path / "in").mkdir()
    content = {f"{EPOCH + n}": os.urandom(LARGE if n == 2 else 1000 * n) for n in range(6)}
    for name, data in content.items():
        (tmp_path / "in" / name).write_bytes(data)
    return content


def export(tmp_path: Path, bucket: Any, *more: str) -> Result:
    words = ["--once", "--settle", "0", "--dir", str(tmp_path / "in"), *more]
    return CliRunner().invoke(main, words, env=bucket.env)


def where(tmp_path: Path, bucket: Any) -> tuple[set[str], dict[str, bytes]]:
    """Names of the files that wait, and names to contents of those that have arrived."""
    here = {path.name for path in (tmp_path / "in").glob("1*")}
    arrived = {key.rpartition("/")[2]: data for key, data in bucket.contents().items()}
    assert all(name.endswith(".sf") for name in arrived)
    return here, {name.removesuffix(".sf"): data for name, data in arrived.items()}


def export_until_done(tmp_path: Path, bucket: Any, files: dict[str, bytes], *more: str) -> None:
    """Again and again, as cron does; what is gone must have arrived each time, whole."""
    for _ in range(20):
        result = export(tmp_path, bucket, *more)
        here, arrived = where(tmp_path, bucket)
        for name, data in files.items():
            assert name in here or arrived[name] == data
        if result.exit_code == 0:
            break
        assert result.exit_code in (1, 3), result.output
    assert here == set(), result.output
    assert arrived == files
    assert bucket.uploads() == []


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_each_kind(
    fault: str, tmp_path: Path, files: dict[str, bytes], bucket: Any, proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each request in turn: the third, then the fourth after that, and so on."""
    bucket.client.create_bucket(Bucket=bucket.name)
    count, following = 0, 3

    def behave(method: str, path: str) -> str:
        nonlocal count, following
        count += 1
        if count > 40:  # a busy machine must not fail all that follows, too
            monkeypatch.setattr("sftools.store.boto_store.READ_SECONDS", 60.0)
        if count < following or count > 40:
            return ""
        following += 4 if fault != "hang" else 20
        return fault

    if fault == "hang":
        monkeypatch.setattr("sftools.store.boto_store.READ_SECONDS", 1.0)
    proxy.behave = behave
    export_until_done(tmp_path, bucket, files, "--jobs", "1")


@pytest.mark.parametrize("client", ["boto3", "minio"])
@pytest.mark.parametrize("seed", range(3))
def test_many_faults_at_random(
    client: str, seed: int, tmp_path: Path, files: dict[str, bytes], bucket: Any, proxy: Any
) -> None:
    pytest.importorskip(client)
    bucket.client.create_bucket(Bucket=bucket.name)
    chance = random.Random(seed)
    kinds = [fault for fault in FAULTS if fault != "hang"]
    proxy.behave = lambda method, path: (
        chance.choice(kinds) if len(proxy.requests) < 150 and chance.random() < 0.3 else ""
    )
    export_until_done(tmp_path, bucket, files, "--client", client, "--jobs", "2")


def test_every_part_is_damaged_once(tmp_path: Path, files: dict[str, bytes], bucket: Any, proxy: Any) -> None:
    """The first parts go with their MD5; later ones are told by their ETags."""
    bucket.client.create_bucket(Bucket=bucket.name)
    (tmp_path / "in" / f"{EPOCH + 9}").write_bytes(os.urandom(LARGE))
    files[f"{EPOCH + 9}"] = (tmp_path / "in" / f"{EPOCH + 9}").read_bytes()
    damaged: set[str] = set()

    def behave(method: str, path: str) -> str:
        part = path.partition("?")[0] + re.findall("partNumber=[0-9]+|$", path)[0]
        if method != "PUT" or "=" not in part or part in damaged:
            return ""
        damaged.add(part)
        return "damage"

    proxy.behave = behave
    export_until_done(tmp_path, bucket, files, "--jobs", "1")
    assert len(damaged) == 4


def test_a_server_without_conditions(tmp_path: Path, files: dict[str, bytes], bucket: Any, proxy: Any) -> None:
    """501 to them, as Swift's: the HEAD before is what keeps other objects whole."""
    bucket.client.create_bucket(Bucket=bucket.name)
    key = f"2024/05/01/{EPOCH}.sf"
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"other")

    def behave(method: str, path: str) -> str:
        headers = proxy.requests[-1][2]
        return "501" if {"if-none-match", "if-match"} & set(headers) else ""

    proxy.behave = behave
    assert export(tmp_path, bucket).exit_code == 0
    contents = bucket.contents()
    assert contents.pop(key) == b"other"
    assert sorted(contents.values()) == sorted(files.values())


def test_a_bucket_that_may_not_be_made(tmp_path: Path, files: dict[str, bytes], bucket: Any, proxy: Any) -> None:
    proxy.behave = lambda method, path: "403" if method == "PUT" else ""
    result = export(tmp_path, bucket)
    assert result.exit_code == 1
    assert "s3:CreateBucket" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert len(list((tmp_path / "in").glob("1*"))) == len(files)


def test_no_permission_to_write(tmp_path: Path, files: dict[str, bytes], bucket: Any, proxy: Any) -> None:
    bucket.client.create_bucket(Bucket=bucket.name)
    proxy.behave = lambda method, path: "403" if method in ("PUT", "POST") else ""
    result = export(tmp_path, bucket)
    assert result.exit_code == 3
    assert "s3:PutObject" in result.stderr
    assert len(list((tmp_path / "in").glob("1*"))) == len(files)


def test_a_bucket_that_vanishes_is_made_again(tmp_path: Path, files: dict[str, bytes], bucket: Any, proxy: Any) -> None:
    assert export(tmp_path, bucket).exit_code == 0
    for key in bucket.contents():
        bucket.client.delete_object(Bucket=bucket.name, Key=key)
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    deleted = False

    def behave(method: str, path: str) -> str:
        nonlocal deleted
        if not deleted and method != "HEAD":
            deleted = True
            bucket.client.delete_bucket(Bucket=bucket.name)
        return ""

    proxy.behave = behave
    export_until_done(tmp_path, bucket, files)
