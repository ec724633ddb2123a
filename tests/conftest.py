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
    """Ceph's gateway. Its tests are in the group `ceph`, which one process runs: it takes 15 s to start."""
    yield from _started("ceph", tmp_path_factory.mktemp("ceph"))
