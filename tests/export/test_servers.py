"""The whole exporter and real servers (rclone, Ceph, Swift): modes, options, credentials, ends, full disks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from sftools.tools.sf_exporter import main

EPOCH = 1_714_557_600
KEY = f"2024/05/01/{EPOCH}.sf"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sftools.export.lane.FIRST_BACKOFF", 0.001)
    monkeypatch.setattr("sftools.export.lane.ONCE_LONGEST_BACKOFF", 0.01)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / str(EPOCH)).write_bytes(b"first")
    return tmp_path / "in"


def once(source: Path, bucket: Any, *more: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["--once", "--settle", "0", "--dir", str(source), *more], env=env or bucket.env)


@pytest.fixture
def exporter(source: Path, bucket: Any) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts one that runs until the test ends."""
    started = []

    def start(*more: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "sftools.tools.sf_exporter", "--dir", str(source), "--scaninterval", "0.05"]
        process = subprocess.Popen(
            [*words, *more], env=os.environ | (env or bucket.env), stderr=(source.parent / "log").open("ab")
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(60)


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60  # on a busy machine copies take long, and rest four times as long
    while not condition():
        assert time.monotonic() < end, "does not happen"
        time.sleep(0.02)


def there(bucket: Any, key: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        return bool(bucket.head(key))
    except ClientError:
        return False


def trace_of(bucket: Any, key: str) -> tuple[int, str | None]:
    """Size and metadata `trace` of an object; -1 where there is none."""
    from botocore.exceptions import ClientError

    try:
        head = bucket.head(key)
    except ClientError:
        return -1, None
    return head["ContentLength"], {name.lower(): value for name, value in head["Metadata"].items()}.get("trace")


@pytest.mark.parametrize("client", ["boto3", "minio"])
def test_cont_update(client: str, source: Path, bucket: Any, exporter: Any) -> None:
    """The copy of the newest follows it and is marked, until there is a newer one; then the whole takes its place."""
    other = f"2024/05/01/{EPOCH - 1}.sf"
    bucket.client.create_bucket(Bucket=bucket.name)
    bucket.client.put_object(Bucket=bucket.name, Key=other, Body=b"other")
    exporter("--mode", "cont-update", "--settle", "1000", "--client", client)
    with (source / str(EPOCH)).open("ab") as file:
        eventually(lambda: trace_of(bucket, KEY) == (5, "partial"))
        for size in (9, 13):
            file.write(b"more")
            file.flush()
            eventually(lambda size=size: trace_of(bucket, KEY) == (size, "partial"))  # type: ignore[misc]
    (source / str(EPOCH + 1)).write_bytes(b"next")
    eventually(lambda: not (source / str(EPOCH)).exists())
    assert trace_of(bucket, KEY) == (13, None)
    assert bucket.contents()[KEY] == b"firstmoremore"
    assert bucket.contents()[other] == b"other"
    assert set(bucket.contents()) <= {KEY, other, f"2024/05/01/{EPOCH + 1}.sf"}


@pytest.mark.parametrize("client", ["boto3", "minio"])
def test_a_copy_without_its_mark(client: str, source: Path, bucket: Any) -> None:
    """As rclone's server leaves it where it fails after the bytes are stored."""
    bucket.client.create_bucket(Bucket=bucket.name)
    bucket.client.put_object(Bucket=bucket.name, Key=KEY, Body=b"first")
    result = once(source, bucket, "--mode", "cont-update", "--settle", "1000", "--client", client)
    assert result.exit_code == 0, result.output
    assert trace_of(bucket, KEY) == (5, "partial")


def test_a_large_file_that_grows(source: Path, bucket: Any) -> None:
    """Its copy is made of parts, too, and replaced."""
    path = source / str(EPOCH)
    for size in (9 << 20, 10 << 20):
        path.write_bytes(bytes(size))
        with path.open("ab"):
            result = once(source, bucket, "--mode", "cont-update", "--settle", "1000")
        assert result.exit_code == 0, result.output
        assert trace_of(bucket, KEY) == (size, "partial")
    assert once(source, bucket, "--mode", "cont-update").exit_code == 0
    assert trace_of(bucket, KEY) == (10 << 20, None)
    assert list(bucket.contents()) == [KEY]
    assert bucket.uploads() == []


def test_cont_update_recur(source: Path, bucket: Any) -> None:
    """A tree: what is of today is copied, what is of another day is moved."""
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "b" / "today").write_bytes(b"today")
    old = source / "a" / str(EPOCH)
    old.write_bytes(b"old")
    for path in (old, source / str(EPOCH)):
        os.utime(path, (EPOCH, EPOCH))
    assert once(source, bucket, "--mode", "cont-update-recur").exit_code == 0
    assert bucket.contents() == {KEY: b"first", f"a/{KEY}": b"old", "a/b/today.sf": b"today"}
    assert [path.name for path in source.rglob("*") if path.is_file() and path.name != "journal"] == ["today"]


def test_what_a_server_is_told(source: Path, bucket: Any, proxy: Any) -> None:
    bucket.client.create_bucket(Bucket=bucket.name)
    more = ["--sse", "aws:kms=key", "--storage-class", "COLD", "--tags", "a=1,b=x y", "--nodename", "näme"]
    once(source, bucket, *more)
    sent = next(headers for method, path, headers in proxy.requests if method == "PUT")
    assert sent["x-amz-server-side-encryption"] == "aws:kms"
    assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "key"
    assert sent["x-amz-storage-class"] == "COLD"
    assert sent["x-amz-tagging"] == "a=1&b=x+y"
    assert sent["x-amz-meta-nodename"] == "n%C3%A4me"
    assert "content-md5" in sent


@pytest.mark.parametrize("client", ["boto3", "minio"])
def test_what_ceph_does_when_told(client: str, source: Path, ceph_bucket: Any) -> None:
    """Encrypted, its ETag is no MD5; in parts and whole."""
    (source / str(EPOCH + 1)).write_bytes(bytes(9 << 20))
    more = ["--sse", "aws:kms=a-key", "--storage-class", "COLD", "--tags", "a=1,b=x-y", "--client", client]
    result = once(source, ceph_bucket, *more)
    assert result.exit_code == 0, result.output
    assert [len(data) for data in ceph_bucket.contents().values()] == [5, 9 << 20]
    for key in (KEY, f"2024/05/01/{EPOCH + 1}.sf"):
        head = ceph_bucket.head(key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"], head["StorageClass"]) == ("aws:kms", "a-key", "COLD")
    tags = ceph_bucket.client.get_object_tagging(Bucket=ceph_bucket.name, Key=KEY)["TagSet"]  # Ceph: of whole ones only
    assert {each["Key"]: each["Value"] for each in tags} == {"a": "1", "b": "x-y"}
    assert not list(source.glob("1*"))


def test_rate(source: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is sent is counted; test_ship.py tells how long the threads wait."""
    from sftools.export.ship import Rate

    taken = []
    monkeypatch.setattr(Rate, "take", lambda self, size: taken.append((self.per_second, size)))
    (source / str(EPOCH)).write_bytes(bytes(30_000))
    (source / str(EPOCH + 1)).write_bytes(bytes(9 << 20))
    assert once(source, bucket, "--rate", "30k", "--jobs", "1").exit_code == 0
    assert taken == [(30_000.0, 30_000), (30_000.0, 8 << 20), (30_000.0, 1 << 20)]


def test_a_wrong_secret(source: Path, bucket: Any) -> None:
    bucket.client.create_bucket(Bucket=bucket.name)
    result = once(source, bucket, env=bucket.env | {"S3_SECRET_KEY": "wrong"})
    assert result.exit_code == 1
    assert "SignatureDoesNotMatch" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (source / str(EPOCH)).exists()


def test_rotated_credentials(source: Path, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused while it runs, it reads the secret files anew."""
    from sftools.store.boto_store import BotoStore

    bucket.client.create_bucket(Bucket=bucket.name)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setattr("sftools.store.boto_store.SECRET_DIRECTORIES", (str(secrets),))
    (secrets / "s3_access_key").write_text(bucket.env.pop("S3_ACCESS_KEY"))
    (secrets / "s3_secret_key").write_text("old")
    monkeypatch.delenv("S3_ACCESS_KEY", raising=False)
    monkeypatch.delenv("S3_SECRET_KEY", raising=False)
    right = bucket.env.pop("S3_SECRET_KEY")
    monkeypatch.setattr(BotoStore, "check", lambda self: None)  # so that it is the upload that is refused
    renew = BotoStore.renew

    def rotate(self: BotoStore) -> None:
        renew(self)
        (secrets / "s3_secret_key").write_text(right)

    monkeypatch.setattr(BotoStore, "renew", rotate)
    result = once(source, bucket)
    assert result.exit_code == 0, result.output
    assert "next try" in result.stderr
    assert bucket.contents() == {KEY: b"first"}


def test_a_signal_while_the_server_hangs(source: Path, bucket: Any, proxy: Any, exporter: Any) -> None:
    """It ends within --timeout; without it a request is given up after a minute."""
    bucket.client.create_bucket(Bucket=bucket.name)
    proxy.behave = lambda method, path: "hang" if method == "PUT" else ""
    process = exporter("--timeout", "1", "--settle", "0", env=bucket.env)
    eventually(lambda: any(method == "PUT" for method, *_ in proxy.requests))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert (source / str(EPOCH)).exists()


def test_two_exporters(source: Path, bucket: Any, exporter: Any) -> None:
    """The second does not start; whatever becomes of the first, its lock is gone with it."""
    first = exporter("--settle", "1000")
    log = source.parent / "log"
    eventually(lambda: b"started" in log.read_bytes())
    assert once(source, bucket).exit_code == 1
    first.kill()
    first.wait(60)
    assert once(source, bucket).exit_code == 0
    assert bucket.contents() == {KEY: b"first"}


def test_a_directory_that_vanishes_and_returns(source: Path, bucket: Any, exporter: Any) -> None:
    exporter("--settle", "0")
    eventually(lambda: there(bucket, KEY))
    eventually(lambda: not (source / str(EPOCH)).exists())
    shutil.rmtree(source)
    eventually(lambda: b"No such file" in (source.parent / "log").read_bytes())
    (source.parent / "second").write_bytes(b"second")
    source.mkdir()
    (source.parent / "second").rename(source / str(EPOCH + 1))  # found while it is written, it would rest for long
    eventually(lambda: there(bucket, f"2024/05/01/{EPOCH + 1}.sf"))


def test_tls(source: Path, tmp_path: Path, s3_servers: Any, missing: Callable[[str], NoReturn]) -> None:
    """With a certificate of our own: refused unless --ca-bundle says that it is trusted."""
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("openssl is not installed")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    try:
        with s3_servers.rclone(tmp_path, certificate, key) as server:
            env = {"S3_ENDPOINT": server.url, "S3_ACCESS_KEY": server.access_key, "S3_SECRET_KEY": server.secret_key}
            assert once(source, None, env=env).exit_code == 3
            assert (source / str(EPOCH)).exists()
            for client in ("boto3", "minio"):
                (source / str(EPOCH)).write_bytes(b"first")
                result = once(source, None, "--ca-bundle", str(certificate), "--client", client, env=env)
                assert result.exit_code == 0, result.output
            assert (server.root / "telemetry" / KEY).read_bytes() == b"first"
    except s3_servers.NoServer as error:
        missing(str(error))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(words, check=False, capture_output=True, timeout=60).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True, timeout=60)


def test_a_target_that_is_full(source: Path, small_disk: Path) -> None:
    (source / str(EPOCH)).write_bytes(os.urandom(700_000))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(800_000))
    words = ["--exporttype", "local", "--todir", str(small_disk)]
    result = once(source, None, *words, env={"X": ""})
    assert result.exit_code == 3
    assert "No space left" in result.stderr
    assert (source / str(EPOCH)).stat().st_size == 700_000
    filler.unlink()
    assert once(source, None, *words, env={"X": ""}).exit_code == 0
    assert (small_disk / KEY).stat().st_size == 700_000
    assert os.listdir(small_disk / ".sf-exporter-parts") == []


def test_a_source_that_is_full(small_disk: Path, tmp_path: Path) -> None:
    """There is no room for a journal: it goes without, and says that the disk is nearly full."""
    (small_disk / str(EPOCH)).write_bytes(b"first")
    room = os.statvfs(small_disk)
    (small_disk / str(EPOCH + 1)).write_bytes(bytes(room.f_bavail * room.f_bsize))
    words = ["--exporttype", "local", "--todir", str(tmp_path / "out")]
    result = once(small_disk, None, *words, env={"X": ""})
    assert result.exit_code == 0, result.output
    assert "nearly full" in result.stderr
    assert (tmp_path / "out" / KEY).read_bytes() == b"first"
    assert not list(small_disk.glob("1*"))
