"""How fast sf-exporter is: beside a bare boto3 loop for large files, beside the old way for many small ones.

    scripts/bench_exporter.py [--server ceph|rclone] [--small N] [--large N] [--rounds N] [--way MS]

All of it in one run, against one server of this machine, each in a process of its own; files and objects are in memory
where the machine has a file system for that with room, as it is not the disk that is measured. The old way: one HEAD of
the bucket for a scan, then one PUT after another with the minio client, and the file removed. Small files go directly,
and once more with MS milliseconds of way to the server and back, as it is not on this machine in earnest: there
requests under way at the same time count, and not this machine's processors, which the server uses as well. What the
server itself takes of them for a file is printed, and how many files a second that allows at best: for the old way's
single PUT, that is the bound for whatever sends files to it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import os
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
    parser.add_argument("--large", type=int, default=8, metavar="N", help="of 128 MiB")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="Ceph's memory store has room for one")
    parser.add_argument("--way", type=float, default=20, metavar="MS")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        PEERS[given.peer](given.files)
        return 0
    start = functools.partial(s3_server.rclone, alone=True) if given.server == "rclone" else s3_server.ceph
    room = 3 * given.large * LARGE  # files and objects, and what an upload has not made an object yet
    memory = "/dev/shm" if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > room else None
    with tempfile.TemporaryDirectory(dir=memory) as name, start(Path(name)) as server:
        processes = children()
        large(given.server, server, Path(name), given.large, given.rounds)
        small(given.server, server, Path(name), given.small, 0, processes)
        small(given.server, server, Path(name), given.small, given.way, processes)
    return 0


def large(title: str, server: s3_server.S3Server, directory: Path, count: int, rounds: int) -> None:
    """The ratio of each round is of times taken one after the other, in another order each time."""
    print(f"{title}: {count} files of {LARGE >> 20} MiB, in MB/s:", flush=True)
    ways: dict[str, Callable[[Path], None]] = {
        name: functools.partial(peer, server, name) for name in ("upload_file", "put_object", "upload_part")
    }
    ways["sf-exporter"] = functools.partial(exporter, server)
    timed(server, directory, 1, LARGE, ways["upload_file"])  # Ceph takes seconds for its first object
    size, ratios = count * LARGE / 1e6, collections.defaultdict[str, list[float]](list)
    for n in range(rounds):
        order = [*ways][n % len(ways) :] + [*ways][: n % len(ways)]
        took = {name: timed(server, directory, count, LARGE, ways[name]) for name in order}
        for name in ways:
            ratios[name].append(took[name] / took["sf-exporter"])
        print("  " + ", ".join(f"{name} {size / took[name]:.0f}" for name in ways), flush=True)
    for name in [*ways][:-1]:
        print(f"  sf-exporter is {statistics.median(ratios[name]):.2f} times as fast as a bare loop of boto3's {name}")


def small(
    title: str, server: s3_server.S3Server, directory: Path, count: int, way: float, processes: list[int]
) -> None:
    print(f"{title}, {way:.0f} ms away: {count} files of {SMALL} bytes, in files/s", flush=True)
    with delayed(server, way / 1000) as there:
        ways: dict[str, Callable[[Path], None]] = {"one PUT after another": functools.partial(peer, there, "old_way")}
        for words in ((), ("--client", "minio")):
            ways[" ".join(("sf-exporter", *words))] = functools.partial(exporter, there, words=words)
        old = 0.0
        for name, work in ways.items():
            # The old way's answers do not come sooner for more files.
            files = count if old or not way else count // 4
            began = processor_seconds(processes)
            rate = files / timed(server, directory, files, SMALL, work)
            taken = (processor_seconds(processes) - began) / files
            old = old or rate
            most = (os.cpu_count() or 1) / taken
            print(
                f"  {name:27} {rate:5.0f} ({rate / old:.1f} times); the server takes {taken * 1000:.1f} ms of a "
                f"processor for a file: {most:.0f} at best ({most / old:.1f} times)",
                flush=True,
            )


def children() -> list[int]:
    """This process's children: the server, as long as there are no others."""
    me = str(os.getpid())
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == me:
                found.append(int(stat.parent.name))
    return found


def processor_seconds(processes: list[int]) -> float:
    ticks = 0
    for pid in processes:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(words[11]) + int(words[12])  # utime, stime (proc_pid_stat(5))
    return ticks / os.sysconf("SC_CLK_TCK")


def timed(server: s3_server.S3Server, directory: Path, count: int, size: int, work: Callable[[Path], None]) -> float:
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
    if server.root:
        shutil.rmtree(server.root / files.name)  # room for the next
    return seconds


def exporter(server: s3_server.S3Server, files: Path, words: Sequence[str] = ()) -> None:
    command = [sys.executable, "-m", "sftools.tools.sf_exporter", "--once", "--settle", "0", "--log", "ERROR"]
    command += ["--dir", str(files), "--s3bucket", files.name, *words]
    subprocess.run(command, check=True, env=os.environ | environment(server))


def peer(server: s3_server.S3Server, name: str, files: Path) -> None:
    """One of PEERS in a process of its own, as the exporter is one."""
    command = [sys.executable, __file__, "--peer", name, "--files", str(files)]
    subprocess.run(command, check=True, env=os.environ | environment(server))


def environment(server: s3_server.S3Server) -> dict[str, str]:
    return {"S3_ENDPOINT": server.url, "S3_ACCESS_KEY": server.access_key, "S3_SECRET_KEY": server.secret_key}


def bare_boto3(send: Callable[[Any, str, Path], None], files: Path) -> None:
    """What a script of ten lines does: file after file, with boto3's defaults."""
    import boto3

    client: Any = boto3.client(
        "s3",
        endpoint_url=os.environ["S3_ENDPOINT"],
        region_name="us-east-1",
        aws_access_key_id=os.environ["S3_ACCESS_KEY"],
        aws_secret_access_key=os.environ["S3_SECRET_KEY"],
    )
    client.create_bucket(Bucket=files.name)
    for path in sorted(files.iterdir()):
        send(client, files.name, path)
        path.unlink()


def upload_file(client: Any, bucket: str, path: Path) -> None:
    """As boto3 does it by itself: parts of 8 MiB in ten threads."""
    client.upload_file(str(path), bucket, path.name)


def put_object(client: Any, bucket: str, path: Path) -> None:
    with path.open("rb") as file:
        client.put_object(Bucket=bucket, Key=path.name, Body=file)


def upload_part(client: Any, bucket: str, path: Path) -> None:
    """Parts of 8 MiB, one after another."""
    where = {"Bucket": bucket, "Key": path.name}
    upload = client.create_multipart_upload(**where)["UploadId"]
    parts: list[dict[str, Any]] = []
    with path.open("rb") as file:
        while data := file.read(PART):
            number = len(parts) + 1
            answer = client.upload_part(**where, UploadId=upload, PartNumber=number, Body=data)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})


def one_after_another(files: Path) -> None:
    import minio

    client = minio.Minio(
        endpoint=urlsplit(os.environ["S3_ENDPOINT"]).netloc,
        access_key=os.environ["S3_ACCESS_KEY"],
        secret_key=os.environ["S3_SECRET_KEY"],
        secure=False,
        region="us-east-1",
    )
    if not client.bucket_exists(bucket_name=files.name):
        client.make_bucket(bucket_name=files.name)
    for path in sorted(files.iterdir()):
        client.fput_object(bucket_name=files.name, object_name=path.name, file_path=str(path))
        path.unlink()


PEERS: dict[str, Callable[[Path], None]] = {
    "upload_file": functools.partial(bare_boto3, upload_file),
    "put_object": functools.partial(bare_boto3, put_object),
    "upload_part": functools.partial(bare_boto3, upload_part),
    "old_way": one_after_another,
}


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
    """One thread for all connections, as this is not to be what is measured. Requests are small enough to be sent on
    at once; answers wait."""
    place = urlsplit(url)
    waiting: collections.deque[tuple[float, socket.socket, bytes]] = collections.deque()
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    while True:
        pause = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        for key, _ in ready.select(pause):
            if key.fileobj is listener:
                near, _ = listener.accept()
                far = socket.create_connection((place.hostname or "", place.port or 80))
                for source, target, delay in ((near, far, 0.0), (far, near, seconds)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ready.register(source, selectors.EVENT_READ, (source, target, delay))
                continue
            source, target, delay = key.data
            with contextlib.suppress(OSError):
                data = source.recv(1 << 20)
                if not data:
                    ready.unregister(source)
                if delay:
                    waiting.append((time.monotonic() + delay, target, data))
                else:
                    _hand_on(target, data)
        while waiting and waiting[0][0] <= time.monotonic():
            _, target, data = waiting.popleft()
            _hand_on(target, data)


def _hand_on(target: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        if data:
            target.sendall(data)
        else:
            target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main())
