"""What holds for all tests, and the servers that several of them use."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from sftools.errors import ENDING_SIGNALS

# How long an example takes is the machine's matter: a deadline would make tests fail on a busy one.
settings.register_profile("sftools", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sftools")


# Containers' images set it. It hides what is left in a buffer when a write fails, which users then see.
os.environ.pop("PYTHONUNBUFFERED", None)

# Under nohup, and behind a script's &, some are ignored, and would be by all that tests start. What is handled is not.
for _number in ENDING_SIGNALS:
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)


# Servers are started by the script that does it outside tests, too.
_SCRIPT = Path(__file__).parents[1] / "scripts" / "s3_server.py"
_spec = importlib.util.spec_from_file_location("s3_server", _SCRIPT)
assert _spec
assert _spec.loader
servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(servers)


_SHARED = "SFTOOLS_TESTS_SHARED"


def pytest_configure(config: pytest.Config) -> None:
    """A directory for what all processes of tests share, with a FIFO that the first process holds open: what reads it
    ends with that, however that ends.
    """
    if hasattr(config, "workerinput"):
        return  # a process of pytest-xdist, which has it in its environment
    directory = tempfile.mkdtemp(prefix="sftools-tests-")
    os.environ[_SHARED] = directory
    os.mkfifo(os.path.join(directory, "running"))
    running = os.open(os.path.join(directory, "running"), os.O_RDWR)
    config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))
    config.add_cleanup(lambda: os.close(running))


class Listener:
    """A listening socket for sysporter's -u, and the messages that its one client sends."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(path)
        self._server.listen(1)
        self._messages: list[bytes] = []
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def _receive(self) -> None:
        with contextlib.suppress(OSError), self._server.accept()[0] as client:
            while message := client.recv(1 << 20):
                self._messages.append(message)

    def messages(self) -> list[bytes]:
        """All of them, once the client has closed its end."""
        self._thread.join()
        return self._messages

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)  # nobody may have come
        self._thread.join()
        self._server.close()


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """For sockets, whose paths have 107 bytes at most: pytest takes too many of them where TMPDIR is long."""
    where = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="sftools-", dir=where if len(where) < 40 else "/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def short_path() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.fixture
def listener(short_path: Path) -> Iterator[Listener]:
    it = Listener(str(short_path / "socket"))
    try:
        yield it
    finally:
        it.close()


def _missing(what: str) -> NoReturn:
    """What a test needs is not there: in CI it must be."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    """Ends a test without what it needs: it is skipped, but in CI it fails."""
    return _missing


@pytest.fixture(scope="session")
def s3_servers() -> Any:
    """The module that starts servers."""
    return servers


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """rclone's S3 server (scripts/s3_server.py: S3Server), with a directory whose directories are its buckets."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(servers.rclone(tmp_path_factory.mktemp("s3")))
        except servers.NoServer as error:
            _missing(str(error))
        yield server


_KEEPER = """
import json, os, sys
with open(sys.argv[1], "w") as file:
    json.dump([os.environ["S3_ENDPOINT"], os.environ["S3_ACCESS_KEY"], os.environ["S3_SECRET_KEY"]], file)
os.rename(sys.argv[1], sys.argv[2])
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def ceph_server() -> Any:
    """Ceph's gateway."""
    return _shared_server("ceph")


@pytest.fixture(scope="session")
def swift_server() -> Any:
    """OpenStack Swift."""
    return _shared_server("swift")


def _shared_server(name: str) -> Any:
    """A server that takes long to start (Ceph's 15 s), so that all processes of tests share it; the first starts it."""
    directory = Path(os.environ[_SHARED]) / name
    directory.mkdir(exist_ok=True)
    found, log = directory / "server.json", directory / "log"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held for a start, which is bounded
        if not log.exists():
            _start_shared(name, directory, found, log)
    if not found.exists():
        _missing(f"{name}: {log.read_text(errors='replace')[-500:]}")
    return servers.S3Server(*json.loads(found.read_text()), None)


def _start_shared(name: str, directory: Path, found: Path, log: Path) -> None:
    with (directory.parent / "running").open("rb") as users, log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(_SCRIPT), name, sys.executable, "-c", _KEEPER, str(directory / "new"), str(found)],
            stdin=users,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    end = time.monotonic() + 300
    while not found.exists() and process.poll() is None:
        if time.monotonic() > end:
            process.kill()
        time.sleep(0.05)


class Bucket:
    """A bucket of its own on a server, not made yet. env: what the exporter has to be told."""

    def __init__(self, name: str, server: Any) -> None:
        import boto3
        from botocore.config import Config

        self.server_name, self.server = name, server
        self.name = f"bucket-{os.urandom(4).hex()}"
        self.env = {
            "S3_ENDPOINT": server.url,
            "S3_BUCKET": self.name,
            "S3_ACCESS_KEY": server.access_key,
            "S3_SECRET_KEY": server.secret_key,
        }
        self.client = boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="us-south",  # sf-exporter's: Swift takes one only
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                connect_timeout=10,
                read_timeout=30,
                retries={"mode": "standard", "total_max_attempts": 3},
            ),
        )

    def contents(self) -> dict[str, bytes]:
        """Of all objects, by key."""
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", ())
        return {each["Key"]: self.client.get_object(Bucket=self.name, Key=each["Key"])["Body"].read() for each in found}

    def head(self, key: str) -> Any:
        return self.client.head_object(Bucket=self.name, Key=key)

    def uploads(self) -> list[str]:
        """The keys of unfinished uploads."""
        from botocore.exceptions import ClientError

        try:
            answer = self.client.list_multipart_uploads(Bucket=self.name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchUpload":  # rclone's word for none
                raise
            return []
        return [each["Key"] for each in answer.get("Uploads", ())]


@pytest.fixture(params=["rclone", "ceph", *(["swift"] if servers.swift_is_there() else [])])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """On each of the servers; on Swift where it is installed."""
    pytest.importorskip("boto3")
    fixture = {"rclone": "s3_server", "ceph": "ceph_server", "swift": "swift_server"}[request.param]
    return Bucket(request.param, request.getfixturevalue(fixture))


@pytest.fixture
def ceph_bucket(ceph_server: Any) -> Bucket:
    """For what rclone's server does not do."""
    return Bucket("ceph", ceph_server)
