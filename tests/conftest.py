"""What holds for all tests, and the servers that several of them use."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes is the machine's matter: a deadline would make tests fail on a busy one.
settings.register_profile("sftools", deadline=None)
settings.load_profile("sftools")


# Servers are started by the script that does it outside tests, too.
_spec = importlib.util.spec_from_file_location("s3_server", Path(__file__).parents[1] / "scripts" / "s3_server.py")
assert _spec
assert _spec.loader
servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(servers)


def _started(name: str, directory: Path, **options: Any) -> Iterator[Any]:
    """A server; without it tests are skipped, but in CI they fail."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(servers.SERVERS[name](directory, **options))
        except servers.NoServer as error:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """rclone's S3 server (scripts/s3_server.py: S3Server), with a directory whose directories are its buckets."""
    yield from _started("rclone", tmp_path_factory.mktemp("s3"))


@pytest.fixture(scope="session")
def ceph_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Ceph's gateway; takes 15 s to start, once in each process of tests."""
    yield from _started("ceph", tmp_path_factory.mktemp("ceph"))


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
            region_name="us-east-1",
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
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


@pytest.fixture(params=["rclone", "ceph"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """On each of the servers."""
    pytest.importorskip("boto3")
    fixture = {"rclone": "s3_server", "ceph": "ceph_server"}[request.param]
    return Bucket(request.param, request.getfixturevalue(fixture))


@pytest.fixture
def new_bucket() -> type[Bucket]:
    """Makes one for a server: new_bucket(name, server)."""
    return Bucket
