"""Kills sf-exporter with SIGKILL at random moments and counts files: each must be whole, in one of two places.

    scripts/exporter_kills.py [--kills N] [--seed N] [--bucket NAME]
    scripts/s3_server.py ceph scripts/exporter_kills.py

Files go to the server at S3_ENDPOINT (keys: S3_ACCESS_KEY and S3_SECRET_KEY), without that to a directory. New files
arrive all the time, some large enough for multipart uploads. After each kill every file must be in one of the two
places. After the last one the exporter runs to its end, and every file must be in the store once, under one key, with
its bytes, and no part of an upload be left. Exit status 1 and a line for each file where that is not so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

EPOCH = 1_714_557_600
LARGE = 20 << 20
# How long it works before it is killed, at most: some of the files that are new, or half of a large one.
WORK_SECONDS = 1.0
# It is killed while it starts, too: once in so many times.
EARLY = 10
START_SECONDS = 1.0
# Nothing takes as long.
PATIENCE_SECONDS = 120.0


class Target(Protocol):
    """Where files go to."""

    options: list[str]

    def arrived(self) -> list[str]:
        """The keys of what has."""

    def sha256(self, key: str) -> str:
        """Of what has arrived under a key, in hex."""

    def leftovers(self) -> list[str]:
        """Parts of uploads that nothing completes any more."""


class Directory:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.options = ["--exporttype", "local", "--todir", str(root)]

    def arrived(self) -> list[str]:
        paths = (path for path in self._root.rglob("*.sf") if ".sf-exporter-parts" not in path.parts)
        return [str(path.relative_to(self._root)) for path in paths]

    def sha256(self, key: str) -> str:
        return hashlib.sha256((self._root / key).read_bytes()).hexdigest()

    def leftovers(self) -> list[str]:
        return os.listdir(self._root / ".sf-exporter-parts")


class Bucket:
    def __init__(self, endpoint: str, bucket: str) -> None:
        import boto3
        from botocore.config import Config

        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=os.environ["S3_ACCESS_KEY"],
            aws_secret_access_key=os.environ["S3_SECRET_KEY"],
            # A server that is busy is waited for: what is counted here are files, not its answers.
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                connect_timeout=PATIENCE_SECONDS,
                read_timeout=PATIENCE_SECONDS,
                retries={"mode": "standard", "total_max_attempts": 10},
            ),
        )
        self._client.create_bucket(Bucket=bucket)
        self._where = {"Bucket": bucket, "Prefix": f"kills-{os.urandom(4).hex()}"}
        self.options = ["--s3endpoint", endpoint, "--s3bucket", bucket, "--s3prefix", self._where["Prefix"]]

    def arrived(self) -> list[str]:
        return [str(each["Key"]) for each in self._pages("list_objects_v2", "Contents")]

    def sha256(self, key: str) -> str:
        body = self._client.get_object(Bucket=self._where["Bucket"], Key=key)["Body"]
        return hashlib.sha256(body.read()).hexdigest()

    def leftovers(self) -> list[str]:
        return [str(each["Key"]) for each in self._pages("list_multipart_uploads", "Uploads")]

    def _pages(self, call: str, what: str) -> Iterator[dict[str, Any]]:
        for page in self._client.get_paginator(call).paginate(**self._where):
            yield from page.get(what, ())


def run(kills: int, directory: Path, target: Target, seed: int = 1) -> list[str]:
    """What is wrong after so many kills: nothing, if all is well."""
    chance = random.Random(seed)
    source = directory / "from"
    source.mkdir()
    # --settle 0 makes every file that is closed a finished one.
    words = [sys.executable, "-m", "sftools.tools.sf_exporter", "--dir", str(source), "--settle", "0"]
    words += ["--scaninterval", "0.05", "--nodeip", "10.0.0.1", *target.options]
    sent: dict[str, str] = {}
    before: set[str] = set()
    amid = 0
    for kill in range(1, kills + 1):
        for _ in range(chance.randrange(1, 40)):
            data = chance.randbytes(LARGE + len(sent) if chance.random() < 0.01 else chance.randrange(40_000))
            name = f"{EPOCH + len(sent)}"
            part = directory / "part"
            part.write_bytes(data)
            part.rename(source / name)
            sent[name] = hashlib.sha256(data).hexdigest()
        _work_and_be_killed(words, directory / "log", chance)
        here = set(os.listdir(source))
        there = {key.rpartition("/")[2].partition(".")[0] for key in target.arrived()}
        if lost := sent.keys() - here - there:
            return [f"{name}: is lost after kill {kill}" for name in sorted(lost)]
        amid += bool(there - before) and bool(here & sent.keys())
        before = there
        if kill % 20 == 0:
            print(
                f"{kill} kills, {amid} of them amid files; {len(sent)} files, {len(here & sent.keys())} wait",
                flush=True,
            )
    subprocess.run([*words, "--once", "--log", "ERROR"], check=False, timeout=10 * PATIENCE_SECONDS)
    arrived: dict[str, list[str]] = {}
    for key in target.arrived():
        arrived.setdefault(target.sha256(key), []).append(key)
    wrong = []
    for name, digest in sent.items():
        places = arrived.pop(digest, []) + ([str(source / name)] if (source / name).exists() else [])
        if len(places) != 1:
            wrong.append(f"{name}: is in {len(places)} places: {places}")
    wrong += [f"{keys}: is no file that was sent" for keys in arrived.values()]
    wrong += [f"{key}: parts are left" for key in target.leftovers()]
    print(f"{kills} kills, {amid} of them amid files; {len(sent)} files: {len(wrong)} wrong", flush=True)
    return wrong


def _work_and_be_killed(words: list[str], log: Path, chance: random.Random) -> None:
    """Run the exporter until a random moment."""
    with log.open("wb") as output, subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=output) as process:
        if chance.randrange(EARLY):
            end = time.monotonic() + PATIENCE_SECONDS
            while b" started: " not in log.read_bytes() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(chance.uniform(0, WORK_SECONDS))
        else:
            time.sleep(chance.uniform(0, START_SECONDS))
        process.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bucket", default="kills")
    given = parser.parse_args()
    endpoint = os.environ.get("S3_ENDPOINT")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        target = Bucket(endpoint, given.bucket) if endpoint else Directory(directory / "to")
        wrong = run(given.kills, directory, target, given.seed)
    for line in wrong:
        print(line)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
