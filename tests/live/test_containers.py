"""Container look-ups: against servers on unix sockets that answer as Docker and the CRI do, or that do not."""

from __future__ import annotations

import http.server
import io
import json
import queue
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastavro
import pytest

from sftools.avro.container import ContainerWriter
from sftools.avro.outputs import FileOutput
from sftools.engine.containers import CT_CONTAINERD, CT_CUSTOM, CT_DOCKER, CT_LXC, ContainerFacts, PodFacts, from_json
from sftools.limits import MAX_LABELS_BYTES, MAX_LIVE_ANSWER_BYTES
from sftools.live import containers
from sftools.live.containers import ContainerLookup, event, image_name, labels
from sftools.porter import PorterOptions, port
from sftools.scap import blocks
from sftools.scap.tables import PPME_CONTAINER_JSON_2_E
from sftools.scap.writer import ScapWriter
from sftools.schema.versions import schema_json

ID = "0123456789abcdef" * 4
SHORT = ID[:12]
IMAGE = "fedcba9876543210" * 4
CGROUPS = f"cpu=/docker/{ID}\0memory=/docker/{ID}\0".encode()


def docker_says(**changes: Any) -> dict[str, Any]:
    """What Docker answers to GET /containers/<id>/json, as far as it is read, and some of the rest."""
    doc: dict[str, Any] = {
        "Id": ID,
        "Created": "2026-01-02T03:04:05.678901234Z",
        "Path": "nginx",
        "Args": ["-g", "daemon off;"],
        "State": {"Status": "running", "Running": True, "Pid": 4242, "ExitCode": 0},
        "Image": f"sha256:{IMAGE}",
        "Name": "/web",
        "RestartCount": 0,
        "HostConfig": {"NetworkMode": "bridge", "Privileged": True, "Binds": None},
        "Mounts": [],
        "Config": {"Hostname": SHORT, "Env": ["SECRET=1"], "Image": "nginx:1.25", "Labels": {"tier": "front"}},
        "NetworkSettings": {"IPAddress": "172.17.0.2", "Networks": {"bridge": {"IPAddress": "172.17.0.2"}}},
    }
    return doc | changes


class Docker(http.server.BaseHTTPRequestHandler):
    """Answers what the server's `answers` hold: by path, a document, bytes or a function that writes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        answer = self.server.answers.get(self.path)  # type: ignore[attr-defined]
        if callable(answer):
            answer(self)
            return
        data = answer if isinstance(answer, bytes) else json.dumps(answer or {"message": "No such container"}).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        # Long answers come from Docker in chunks.
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(data), 5000):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data[at : at + 5000]), data[at : at + 5000]))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        super().__init__(path, Docker)

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what these tests are about."""


@contextmanager
def docker(tmp_path: Path, answers: dict[str, Any]) -> Iterator[Server]:
    with Server(str(tmp_path / "docker.sock"), answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def lookup(tmp_path: Path, **options: Any) -> Iterator[tuple[ContainerLookup, Callable[[], dict[str, Any]]]]:
    """A look-up at the sockets of tmp_path, and a function that waits for the next event's document."""
    found: queue.Queue[bytes] = queue.Queue()
    paths = {name: [str(tmp_path / f"{name}.sock")] for name in ("docker", "podman", "cri")}
    with ContainerLookup(found.put, **{**paths, "timeout_ms": 10_000, "clock": lambda: 77, **options}) as asking:
        yield asking, lambda: document(found.get(timeout=60))


def document(block: bytes) -> dict[str, Any]:
    """The container of an event block, whose form is checked."""
    kind, size = struct.unpack_from("<II", block)
    assert (kind, size) == (blocks.EV_V2_LARGE, len(block))
    cpu, ts, tid, length, code, nparams, of_json = struct.unpack_from("<HQqIHII", block, 8)
    assert (cpu, ts, tid, code, nparams) == (0, 77, -1, PPME_CONTAINER_JSON_2_E, 1)
    assert length == 26 + 4 + of_json
    data = block[40 : 40 + of_json]
    assert data.endswith(b"\0")
    container: dict[str, Any] = json.loads(data[:-1])["container"]
    return container


def facts(container: dict[str, Any]) -> ContainerFacts:
    """What the engine makes of it."""
    found = from_json(json.dumps({"container": container}).encode())
    assert found is not None
    return found


# Docker


def test_docker_tells_of_a_container(tmp_path: Path) -> None:
    with docker(tmp_path, {f"/containers/{SHORT}/json": docker_says()}), lookup(tmp_path) as (asking, answer):
        asking.want(CGROUPS)
        found = answer()
    assert found == {
        "id": SHORT, "full_id": ID, "type": 0, "name": "web", "image": "nginx:1.25", "imageid": IMAGE,
        "imagerepo": "nginx", "imagetag": "1.25", "imagedigest": "", "privileged": True, "is_pod_sandbox": False,
        "ip": "172.17.0.2", "labels": {"tier": "front"},
    }  # fmt: skip
    assert facts(found) == ContainerFacts(
        SHORT.encode(), b"web", b"nginx:1.25:1.25", IMAGE.encode(), CT_DOCKER, True, None
    )


def test_the_environment_is_left_out(tmp_path: Path) -> None:
    """It holds passwords, and no field of a trace."""
    with docker(tmp_path, {f"/containers/{SHORT}/json": docker_says()}), lookup(tmp_path) as (asking, answer):
        asking.want(CGROUPS)
        assert "SECRET" not in json.dumps(answer())


def test_a_container_is_asked_for_once(tmp_path: Path) -> None:
    other = "b" * 64
    answers = {f"/containers/{SHORT}/json": docker_says(), f"/containers/{other[:12]}/json": docker_says(Id=other)}
    with docker(tmp_path, answers) as server, lookup(tmp_path) as (asking, answer):
        for _ in range(100):
            asking.want(CGROUPS)
        asking.want(b"cpu=/docker/%s\0" % other.encode())
        assert [answer()["id"], answer()["id"]] == [SHORT, other[:12]]
        assert len(server.asked) == 2


def test_threads_outside_of_containers_ask_nothing(tmp_path: Path) -> None:
    with docker(tmp_path, {}) as server, lookup(tmp_path) as (asking, _):
        asking.want(b"cpu=/user.slice\0")
        asking.want(b"")
        assert server.asked == []


def test_pods_come_from_labels(tmp_path: Path) -> None:
    """With Docker under Kubernetes the address is that of the container whose network is shared."""
    pod = {
        "io.kubernetes.pod.name": "web-0",
        "io.kubernetes.pod.uid": "11-22",
        "io.kubernetes.pod.namespace": "shop",
        "annotation.io.kubernetes.container.restartCount": "3",
    }
    own = docker_says(
        Config={"Image": f"nginx@sha256:{IMAGE}", "Labels": pod},
        HostConfig={"NetworkMode": "container:feed"},
        NetworkSettings={"IPAddress": "", "Networks": {}},
    )
    shared = docker_says(NetworkSettings={"Networks": {"n": {"IPAddress": "10.1.2.3"}}})
    answers = {f"/containers/{SHORT}/json": own, "/containers/feed/json": shared}
    with docker(tmp_path, answers), lookup(tmp_path) as (asking, answer):
        asking.want(CGROUPS)
        found = facts(answer())
    assert found.pod == PodFacts(
        b"11-22", b"web-0", b"shop", [int.from_bytes(bytes([10, 1, 2, 3]), "little")], 3,
        {key.encode(): value.encode() for key, value in pod.items()},
    )  # fmt: skip


def test_an_image_that_was_started_by_its_id(tmp_path: Path) -> None:
    answers = {
        f"/containers/{SHORT}/json": docker_says(Config={"Image": IMAGE[:12]}),
        f"/images/{IMAGE}/json": {"RepoTags": ["reg.example:5000/a/nginx:1.25"]},
    }
    with docker(tmp_path, answers), lookup(tmp_path) as (asking, answer):
        asking.want(CGROUPS)
        found = answer()
    assert (found["imagerepo"], found["imagetag"]) == ("reg.example:5000/a/nginx", "1.25")


def test_podman_answers_in_the_same_way(tmp_path: Path) -> None:
    with docker(tmp_path, {f"/containers/{SHORT}/json": docker_says(Image="docker.io/library/nginx:1.25")}) as server:
        with lookup(tmp_path, podman=[str(tmp_path / "docker.sock")], docker=[]) as (asking, answer):
            asking.want(f"unified=/machine.slice/libpod-{ID}.scope\0".encode())
            found = answer()
        assert len(server.asked) == 1
    assert (found["type"], found["imagerepo"], found["imageid"]) == (11, "docker.io/library/nginx", "")
    assert facts(found).type == CT_CUSTOM


def test_containers_without_a_runtime_to_ask(tmp_path: Path) -> None:
    with lookup(tmp_path) as (asking, answer):
        asking.want(b"memory=/lxc/web1\0")
        found = facts(answer())
    assert (found.id, found.name, found.type) == (b"web1", b"web1", CT_LXC)


# Servers that do not answer


def garbage(data: bytes) -> Callable[[Docker], None]:
    def write(handler: Docker) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return write


def endless(handler: Docker) -> None:
    """A body without end: it is read no further than the limit."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"[" * 65536)
    except OSError:
        handler.close_connection = True


BAD = {
    "not HTTP": garbage(b"\xff" * 1000 + b"\n\n"),
    "nothing": garbage(b""),
    "no JSON": b"<html>",
    "no object": b"[1]",
    "no Unicode": b'{"Name": "\xff"}',
    "nested": b"[" * 100_000,
    "another container": docker_says(Id="c" * 64),
    "a huge number": b'{"Name": ' + b"9" * 10_000 + b"}",
    "headers without end": garbage(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000),
    "a line without end": garbage(b"HTTP/1.1 200 " + b"x" * 1_000_000),
    "a wrong length": garbage(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{}"),
    "a body without end": endless,
    "too long": b'{"Name": "' + b"x" * MAX_LIVE_ANSWER_BYTES + b'"}',
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_an_answer_that_is_none_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    """Such a container is asked for again, then given up; the next is answered."""
    monkeypatch.setattr(containers, "_RETRIES", (0.0, 0.0))
    answers = {
        f"/containers/{SHORT}/json": answer,
        f"/containers/{'b' * 12}/json": docker_says(Id="b" * 64, Name="/good"),
    }
    with docker(tmp_path, answers) as server, lookup(tmp_path) as (asking, next_answer):
        asking.want(CGROUPS)
        asking.want(f"cpu=/docker/{'b' * 64}\0".encode())
        assert next_answer()["name"] == "good"
        for turn in range(3):  # those that need no question take turns with the repeated ones
            asking.want(b"memory=/lxc/%d\0" % turn)
            assert next_answer()["name"] == f"{turn}"
        assert asking.unanswered == 1
        assert len(server.asked) == 4


def test_odd_values_are_left_out(tmp_path: Path) -> None:
    odd = dict.fromkeys(docker_says(), 5) | {"Id": ID}
    with docker(tmp_path, {f"/containers/{SHORT}/json": odd}), lookup(tmp_path) as (asking, answer):
        asking.want(CGROUPS)
        found = answer()
    assert (found["name"], found["image"], found["labels"], found["ip"]) == ("", "", {}, "0.0.0.0")


def test_a_container_that_is_known_a_little_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_RETRIES", (0.0,))
    with docker(tmp_path, {}) as server, lookup(tmp_path) as (asking, answer):

        def late(handler: Docker) -> None:
            server.answers[handler.path] = docker_says()
            handler.send_error(404)

        server.answers[f"/containers/{SHORT}/json"] = late
        asking.want(CGROUPS)
        assert answer()["name"] == "web"


@contextmanager
def silent(tmp_path: Path) -> Iterator[socket.socket]:
    """A server that takes connections and says nothing."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "docker.sock"))
        server.listen()
        yield server


def test_a_server_that_hangs_costs_its_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_RETRIES", ())
    with silent(tmp_path), lookup(tmp_path, timeout_ms=50) as (asking, answer):
        asking.want(CGROUPS)
        asking.want(b"memory=/lxc/next\0")
        assert answer()["name"] == "next"
        assert asking.unanswered == 1


def test_a_server_that_talks_slowly_without_end_costs_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps every timeout of a single read from running out."""
    monkeypatch.setattr(containers, "_RETRIES", ())
    hung_up = threading.Event()

    def drip(handler: Docker) -> None:
        handler.connection.settimeout(0.01)
        try:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not hung_up.is_set():
                handler.wfile.write(b"A")
                try:
                    if not handler.connection.recv(1):
                        break
                except TimeoutError:
                    pass
        except OSError:
            pass
        hung_up.set()
        handler.close_connection = True

    with docker(tmp_path, {f"/containers/{SHORT}/json": drip}):
        with lookup(tmp_path, timeout_ms=200) as (asking, answer):
            asking.want(CGROUPS)
            asking.want(b"memory=/lxc/next\0")
            assert answer()["name"] == "next"
        assert hung_up.wait(60)


def test_closing_does_not_wait_for_an_answer(tmp_path: Path) -> None:
    with silent(tmp_path) as server:
        with lookup(tmp_path, timeout_ms=3_600_000) as (asking, _):
            asking.want(CGROUPS)
            connection = server.accept()[0]
        asking.want(b"memory=/lxc/late\0")
        connection.close()


def test_too_many_questions_are_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_LIVE_LOOKUPS", 5)
    with silent(tmp_path) as server, lookup(tmp_path, timeout_ms=3_600_000) as (asking, _):
        asking.want(CGROUPS)
        connection = server.accept()[0]  # the first is under way
        for number in range(8):
            asking.want(b"memory=/lxc/c%d\0" % number)
        assert asking.dropped == 3
        connection.close()


def test_no_socket_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_RETRIES", ())
    (tmp_path / "docker.sock").write_text("a file")
    with lookup(tmp_path) as (asking, answer):
        asking.want(CGROUPS)
        asking.want(b"memory=/lxc/next\0")
        assert answer()["name"] == "next"
        assert asking.unanswered == 1


# CRI


def text(number: int, value: bytes | str) -> bytes:
    """A field of a Protobuf message, of any length."""
    data = value.encode() if isinstance(value, str) else value
    size, rest = bytearray(), len(data)
    while rest > 0x7F:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([number << 3 | 2, *size, rest]) + data


def pairs(number: int, values: dict[str, str]) -> bytes:
    return b"".join(text(number, text(1, key) + text(2, value)) for key, value in values.items())


POD_LABELS = {"app": "shop", "io.kubernetes.pod.name": "web-0"}
SANDBOX = "5" * 64


def cri_says(method: str, request: bytes) -> bytes | None:
    """A containerd that has one container, of one pod."""
    sandbox_status = (
        text(1, SANDBOX)
        + text(2, text(1, "web-0") + text(2, "11-22") + text(3, "shop"))
        + b"\x18\x00"
        + text(5, text(1, "10.1.2.3"))
        + pairs(7, POD_LABELS)
    )
    container_status = (
        text(1, ID)
        + text(2, text(1, "nginx") + b"\x10\x02")
        + b"\x18\x01"
        + text(8, text(1, "docker.io/library/nginx:1.25"))
        + text(9, f"sha256:{IMAGE}")
        + pairs(
            12,
            {
                "io.kubernetes.pod.name": "web-0",
                "io.kubernetes.pod.uid": "11-22",
                "io.kubernetes.pod.namespace": "shop",
            },
        )
        + pairs(13, {"io.kubernetes.container.restartCount": "2"})
    )
    info = {"sandboxID": SANDBOX, "config": {"linux": {"security_context": {"privileged": True}}}}
    if method == "Version":
        return text(1, "0.1.0") + text(2, "containerd") + text(3, "1.7.0") + text(4, "v1")
    if method == "ContainerStatus" and request == text(1, SHORT) + b"\x10\x01":
        return text(1, container_status) + pairs(2, {"info": json.dumps(info)})
    if method == "PodSandboxStatus" and request in (text(1, SANDBOX), text(1, SANDBOX[:12])):
        return text(1, sandbox_status)
    return None


@contextmanager
def cri(tmp_path: Path, version: str = "runtime.v1", says: Any = cri_says) -> Iterator[list[str]]:
    """A real gRPC server; the methods that were called."""
    library: Any = pytest.importorskip("grpc")
    called: list[str] = []

    def handler(method: str) -> Any:
        def handle(request: bytes, context: Any) -> bytes:
            called.append(method)
            answer = says(method, request)
            if answer is None:
                context.abort(library.StatusCode.NOT_FOUND, "not found")
            return answer  # type: ignore[no-any-return]

        return library.unary_unary_rpc_method_handler(handle)

    handlers = {method: handler(method) for method in ("Version", "ContainerStatus", "PodSandboxStatus")}
    server = library.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((library.method_handlers_generic_handler(f"{version}.RuntimeService", handlers),))
    server.add_insecure_port(f"unix:{tmp_path}/cri.sock")
    server.start()
    try:
        yield called
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("version", ["runtime.v1", "runtime.v1alpha2"])
def test_the_cri_tells_of_a_container_and_its_pod(tmp_path: Path, version: str) -> None:
    with cri(tmp_path, version), lookup(tmp_path) as (asking, answer):
        asking.want(f"memory=/kubepods.slice/pod1/cri-containerd-{ID}.scope\0".encode())
        found = answer()
    known = ("full_id", "name", "image", "imageid", "imagerepo", "imagetag", "privileged")
    assert {key: found[key] for key in known} == {
        "full_id": ID, "name": "nginx", "image": "docker.io/library/nginx:1.25", "imageid": IMAGE,
        "imagerepo": "docker.io/library/nginx", "imagetag": "1.25", "privileged": True,
    }  # fmt: skip
    assert facts(found).type == CT_CONTAINERD
    assert facts(found).pod == PodFacts(
        b"11-22", b"web-0", b"shop", [int.from_bytes(bytes([10, 1, 2, 3]), "little")], 2,
        {key.encode(): value.encode() for key, value in POD_LABELS.items()},
    )  # fmt: skip


def test_the_pods_own_container(tmp_path: Path) -> None:
    with cri(tmp_path), lookup(tmp_path) as (asking, answer):
        asking.want(f"memory=/kubepods.slice/pod1/cri-containerd-{SANDBOX}.scope\0".encode())
        found = answer()
    assert (found["name"], found["is_pod_sandbox"], found["ip"]) == ("web-0", True, "10.1.2.3")


def test_kubernetes_cgroups_that_look_like_dockers(tmp_path: Path) -> None:
    with cri(tmp_path), docker(tmp_path, {}) as server, lookup(tmp_path) as (asking, answer):
        asking.want(f"memory=/kubepods/besteffort/pod1/{ID}\0".encode())
        assert answer()["name"] == "nginx"
        assert len(server.asked) == 1


def test_a_runtime_is_asked_for_its_version_once(tmp_path: Path) -> None:
    with cri(tmp_path) as called, lookup(tmp_path) as (asking, answer):
        for container in (ID, SANDBOX):
            asking.want(f"memory=/pod1/cri-containerd-{container}.scope\0".encode())
            answer()
        assert called.count("Version") == 1


@pytest.mark.parametrize("damaged", [b"\x0a\x05ab", b"\xff" * 100, b"\x0a\x03\x0a\x05a"])
def test_a_cri_whose_messages_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bytes) -> None:
    monkeypatch.setattr(containers, "_RETRIES", ())
    with cri(tmp_path, says=lambda method, _: damaged), lookup(tmp_path) as (asking, answer):
        asking.want(f"memory=/pod1/cri-containerd-{ID}.scope\0".encode())
        asking.want(b"memory=/lxc/next\0")
        assert answer()["name"] == "next"
        assert asking.unanswered == 1


# Events


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nginx", ("nginx", "", "")),
        ("nginx:1.25", ("nginx", "1.25", "")),
        ("reg:5000/a/b", ("reg:5000/a/b", "", "")),
        ("reg:5000/a/b:1", ("reg:5000/a/b", "1", "")),
        ("a/b:1@sha256:ab", ("a/b", "1", "sha256:ab")),
        ("a@sha256:ab", ("a", "", "sha256:ab")),
        ("", ("", "", "")),
    ],
)
def test_image_names(name: str, parts: tuple[str, str, str]) -> None:
    assert image_name(name) == parts


def test_labels_are_bounded() -> None:
    found = labels({f"key{i}": "v" * 100 for i in range(10_000)} | {"last": 5})
    assert 0 < sum(len(key) + len(value) for key, value in found.items()) <= MAX_LABELS_BYTES


def test_a_document_that_is_too_large_goes_without_labels() -> None:
    many = {f"{i}": "\1" * 4000 for i in range(4)}
    container = document(event({"id": "a", "name": "n", "labels": many}, 77))
    assert container == {"id": "a", "name": "n", "labels": {}, "pod_sandbox_labels": {}}


def test_odd_text_in_an_event() -> None:
    assert document(event({"id": "a", "name": "\ud800é\0"}, 77))["name"] == "?é\0"


def test_the_engine_takes_the_event(tmp_path: Path) -> None:
    """A thread in a container, then what Docker tells: the trace's Container is complete."""
    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    writer.machine_info()
    thread = {"tid": 5, "pid": 5, "ptid": 1, "comm": "nginx", "exe": "nginx", "exepath": "/nginx", "vtid": 1, "vpid": 1}
    writer.process_list([thread | {"cgroups": CGROUPS}])
    writer.raw(event({"id": SHORT, "type": 0, "name": "web", "image": "nginx", "imagetag": "1", "imageid": IMAGE}, 77))
    writer.event(100, 5, "PPME_PROCEXIT_1_E", [0, 0, 0, 0, 0])
    (tmp_path / "c.scap").write_bytes(out.getvalue())
    output = FileOutput(lambda _: str(tmp_path / "c.sf"), lambda file: ContainerWriter(file, schema_json(5), "null"))
    port([str(tmp_path / "c.scap")], output, PorterOptions())
    with (tmp_path / "c.sf").open("rb") as file:
        records = [record["rec"][1] for record in fastavro.reader(file, return_record_name=True)]
    found = [(record["id"], record["name"], record["image"]) for record in records if "imageid" in record]
    assert found == [(SHORT, "web", "nginx:1")]
