"""How fast sf-exporter is: beside a bare boto3 loop for large files, beside the old way for many small ones.

    scripts/bench_exporter.py [--server ceph|rclone] [--small N] [--large N] [--way MS]

All of it in one run, against one server of this machine. The old way: one HEAD of the bucket for a scan, then one PUT
after another with the minio client, and the file removed. Small files go directly, and once more with MS milliseconds
of way to the server and back, as it is not on this machine in earnest: there the requests under way at the same time
count, and not this machine's processors, which the server uses as well.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import s3_server

EPOCH = 1_714_557_600
SMALL = 20_000
LARGE = 128 << 20
PART = 8 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=s3_server.SERVERS, default="rclone")
    parser.add_argument("--small", type=int, default=10_000, metavar="N")
    parser.add_argument("--large", type=int, default=4, metavar="N", help="of 128 MiB")
    parser.add_argument("--way", type=float, default=20, metavar="MS")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, s3_server.SERVERS[given.server](Path(name)) as server:
        directory = Path(name)
        print(f"{given.server}: large files: {given.large} of {LARGE >> 20} MiB, in MB/s")
        size = given.large * LARGE / 1e6
        bare = size / timed(directory, given.large, LARGE, lambda files: bare_boto3(server, files))
        ours = size / timed(directory, given.large, LARGE, lambda files: exporter(server, files, jobs=8))
        print(f"  bare boto3 {bare:8.0f}\n  exporter   {ours:8.0f}   {ours / bare:.2f} of it", flush=True)
        for way in (0.0, given.way):
            small = given.small if not way else given.small // 4
            print(f"{given.server}, {way:.0f} ms away: {small} files of {SMALL} bytes, in files/s")
            with delayed(server, way / 1000) as there:
                old = small / timed(directory, small, SMALL, lambda files: one_after_another(there, files))
                print(f"  one PUT after another {old:8.0f}", flush=True)
                for client in ("boto3", "minio"):
                    for jobs in (8, 32):
                        new = small / timed(
                            directory,
                            small,
                            SMALL,
                            lambda files, jobs=jobs, client=client: exporter(there, files, jobs, client),  # type: ignore[misc]
                        )
                        print(f"  {client}, --jobs {jobs:<2}       {new:8.0f}   {new / old:.1f} times that", flush=True)
    return 0


def timed(directory: Path, count: int, size: int, work: Callable[[Path], None]) -> float:
    """Seconds that work takes for new files, which are made before and must be gone after."""
    files = directory / f"files-{os.urandom(4).hex()}"
    files.mkdir()
    data = os.urandom(size)
    for n in range(count):
        (files / f"{EPOCH + n}").write_bytes(n.to_bytes(8) + data[8:])
    os.sync()
    began = time.perf_counter()
    work(files)
    seconds = time.perf_counter() - began
    assert not list(files.glob("1*"))
    return seconds


def exporter(server: s3_server.S3Server, files: Path, jobs: int, client: str = "boto3") -> None:
    words = [sys.executable, "-m", "sftools.tools.sf_exporter", "--once", "--settle", "0", "--log", "ERROR"]
    words += ["--dir", str(files), "--jobs", str(jobs), "--client", client, "--s3bucket", files.name]
    keys = {"S3_ENDPOINT": server.url, "S3_ACCESS_KEY": server.access_key, "S3_SECRET_KEY": server.secret_key}
    subprocess.run(words, check=True, env=os.environ | keys)


def bare_boto3(server: s3_server.S3Server, files: Path) -> None:
    """Parts of 8 MiB, one after another."""
    import boto3
    from botocore.config import Config

    client: Any = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )
    where = {"Bucket": files.name}
    client.create_bucket(**where)
    for path in sorted(files.iterdir()):
        where["Key"] = path.name
        upload = client.create_multipart_upload(**where)["UploadId"]
        parts: list[dict[str, Any]] = []
        with path.open("rb") as file:
            while data := file.read(PART):
                number = len(parts) + 1
                answer = client.upload_part(**where, UploadId=upload, PartNumber=number, Body=data)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
        path.unlink()


def one_after_another(server: s3_server.S3Server, files: Path) -> None:
    import minio

    client = minio.Minio(
        endpoint=urlsplit(server.url).netloc,
        access_key=server.access_key,
        secret_key=server.secret_key,
        secure=False,
        region="us-east-1",
    )
    if not client.bucket_exists(bucket_name=files.name):
        client.make_bucket(bucket_name=files.name)
    for path in sorted(files.iterdir()):
        client.fput_object(bucket_name=files.name, object_name=path.name, file_path=str(path))
        path.unlink()


@contextlib.contextmanager
def delayed(server: s3_server.S3Server, seconds: float) -> Iterator[s3_server.S3Server]:
    """The server with a way to it: a process that passes on bytes so much later."""
    if not seconds:
        yield server
        return
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = listener.getsockname()[1]
    process = os.fork()
    if not process:
        _pass_on(listener, server.url, seconds)
        os._exit(0)
    listener.close()
    try:
        yield server._replace(url=f"http://127.0.0.1:{port}")
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)


def _pass_on(listener: socket.socket, url: str, seconds: float) -> None:
    place = urlsplit(url)

    def copy(source: socket.socket, target: socket.socket, delay: float) -> None:
        with contextlib.suppress(OSError), selectors.DefaultSelector() as ready:
            ready.register(source, selectors.EVENT_READ)
            while ready.select() and (data := source.recv(1 << 20)):
                time.sleep(delay)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    while True:
        near, _ = listener.accept()
        far = socket.create_connection((place.hostname or "", place.port or 80))
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=copy, args=(near, far, 0.0), daemon=True).start()
        threading.Thread(target=copy, args=(far, near, seconds), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
