"""Names, images, labels and pods of containers, asked of Docker, Podman and the CRI while the capture goes on.

Which container a thread is in, its cgroups say (sftools.engine.containers). What the runtime's socket answers becomes
a PPME_CONTAINER_JSON_2_E event with the document that libsinsp writes (falcosecurity/libs
userspace/libsinsp/container.cpp, container_to_json), which the engine reads as it reads other recorders'.
"""

from __future__ import annotations

import heapq
import http.client
import io
import json
import re
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sftools.engine.containers import CT_CONTAINERD, CT_CRI, CT_CRIO, CT_CUSTOM, CT_DOCKER, CgroupIds
from sftools.limits import (
    KIB,
    MAX_CONTAINERS,
    MAX_LABELS_BYTES,
    MAX_LIVE_ANSWER_BYTES,
    MAX_LIVE_LOOKUPS,
    MAX_LIVE_TEXT_CHARS,
)
from sftools.live import grpc
from sftools.scap import blocks
from sftools.scap.writer import ScapWriter

# The sockets that libsinsp asks.
DOCKER_SOCKETS = ("/run/docker.sock",)
PODMAN_SOCKETS = ("/run/podman/podman.sock",)
CRI_SOCKETS = ("/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock")

# Of libsinsp's numbering, which the schema's enum does not have; the engine takes it for CT_CUSTOM.
_PODMAN = 11

# A container that has just been made may not be known yet: it is asked for again after so many seconds.
_RETRIES = (0.1, 0.5, 2.0)

_MAX_JSON = 60 * KIB
_CRI_VERSIONS = ("runtime.v1", "runtime.v1alpha2")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})\Z")
_RESTARTS = "io.kubernetes.container.restartCount"


class NotKnown(Exception):
    """The runtime does not answer, or does not know the container."""


class ContainerLookup:
    """Asks runtimes in one thread of its own; what it learns it hands to `deliver` as a block, in that thread.

    cri: the sockets of -p; timeout_ms: -t, what a runtime may take for one question, connecting included. want() never
    waits: a container is asked for once, and where too many wait `dropped` counts those that are not (they are asked
    for when they come again); it is for one thread to call. unanswered: containers that no runtime told of. deliver
    must not raise.
    """

    def __init__(
        self,
        deliver: Callable[[bytes], None],
        *,
        docker: Sequence[str] = DOCKER_SOCKETS,
        podman: Sequence[str] = PODMAN_SOCKETS,
        cri: Sequence[str] = CRI_SOCKETS,
        timeout_ms: int = 1000,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.dropped = 0
        self.unanswered = 0
        self._deliver = deliver
        self._docker = docker
        self._podman = podman
        self._cri = cri
        self._timeout = timeout_ms / 1000
        self._clock = clock
        self._ids = CgroupIds()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        # (when, order, container id, type, attempt); `when` by the monotonic clock.
        self._waiting: list[tuple[float, int, bytes, int, int]] = []
        self._order = 0
        self._changed = threading.Condition()
        self._closed = False
        self._connection: socket.socket | None = None
        # What a CRI socket speaks and calls itself, once known.
        self._runtimes: dict[str, tuple[str, str]] = {}
        self._thread = threading.Thread(target=self._run, name="container lookup", daemon=True)
        self._thread.start()

    def want(self, cgroups: bytes) -> None:
        """A thread with these cgroups was seen (NUL-separated `subsys=path`)."""
        found = self._ids.find(cgroups)
        if found is None or found[0] in self._seen:
            return
        with self._changed:
            if self._closed:
                return
            if len(self._waiting) >= MAX_LIVE_LOOKUPS:
                self.dropped += 1
                return
            self._seen[found[0]] = None
            if len(self._seen) > MAX_CONTAINERS:
                self._seen.popitem(last=False)
            self._push(time.monotonic(), found[0], found[1], 0)
            self._changed.notify()

    def close(self) -> None:
        """Ends the thread, a question that is under way too. What still waits is not asked."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            _end(self._connection)
        self._thread.join()

    def __enter__(self) -> ContainerLookup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _push(self, when: float, container: bytes, kind: int, attempt: int) -> None:
        self._order += 1
        heapq.heappush(self._waiting, (when, self._order, container, kind, attempt))

    def _next(self) -> tuple[bytes, int, int] | None:
        """The container whose turn it is, when it is; None at the end."""
        with self._changed:
            while not self._closed:
                left = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._waiting)[2:]
                self._changed.wait(left)
        return None

    def _run(self) -> None:
        while (turn := self._next()) is not None:
            container, kind, attempt = turn
            try:
                facts = self._ask(container.decode("utf-8", "replace"), kind)
            except (NotKnown, ValueError):  # an answer may name what is no text
                with self._changed:
                    if attempt < len(_RETRIES):
                        self._push(time.monotonic() + _RETRIES[attempt], container, kind, attempt + 1)
                    else:
                        self.unanswered += 1
                continue
            block = event(facts, self._clock())
            if not self._closed:
                self._deliver(block)

    def _ask(self, container: str, kind: int) -> dict[str, Any]:
        if kind == CT_CUSTOM:
            return self._first(self._podman, lambda path: self._docker_facts(path, container, _PODMAN))
        if kind == CT_DOCKER:
            # The same cgroups as Docker's have the containers of Kubernetes with the cgroupfs driver.
            try:
                return self._first(self._docker, lambda path: self._docker_facts(path, container, CT_DOCKER))
            except NotKnown:
                return self._first(self._cri, lambda path: self._cri_facts(path, container))
        if kind in (CT_CRI, CT_CONTAINERD, CT_CRIO):
            return self._first(self._cri, lambda path: self._cri_facts(path, container))
        # lxc, libvirt and the others have names for ids, and nobody to ask.
        return {
            "id": container,
            "type": kind,
            "name": container,
            "image": "",
            "imageid": "",
            "imagetag": "",
        }

    def _first(self, paths: Sequence[str], ask: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        for path in paths:
            if Path(path).is_socket():
                try:
                    return ask(path)
                except NotKnown:
                    pass
        raise NotKnown

    @contextmanager
    def _connected(self, path: str) -> Iterator[socket.socket]:
        """A connection that ends when the time is over, however slowly the other side goes on talking.

        Raises NotKnown for all that goes wrong with it.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout)
        over = threading.Timer(self._timeout, _end, (connection,))
        over.daemon = True
        try:
            with self._changed:
                if self._closed:
                    raise NotKnown
                self._connection = connection
            over.start()
            connection.connect(path)
            yield connection
        except (OSError, http.client.HTTPException, grpc.GrpcError, ValueError, RecursionError):
            raise NotKnown from None
        finally:
            over.cancel()
            with self._changed:
                self._connection = None
            connection.close()

    # Docker Engine API

    def _docker_facts(self, path: str, container: str, kind: int) -> dict[str, Any]:
        doc = self._get(path, f"/containers/{quote(container)}/json")
        if not _text(doc.get("Id")).startswith(container):
            raise NotKnown
        config, host = _dict(doc.get("Config")), _dict(doc.get("HostConfig"))
        image, imageid = _text(config.get("Image")), _text(doc.get("Image")).rpartition(":")[2]
        named, digest = image, ""
        if "/" in _text(doc.get("Image")):
            # Podman has the name there, and tells no id.
            named, imageid = _text(doc.get("Image")), ""
        elif _DIGEST.match(image) and imageid.startswith(image.rpartition(":")[2]):
            # Started by its id: the image knows its names.
            try:
                tags = self._get(path, f"/images/{quote(imageid)}/json").get("RepoTags")
            except NotKnown:
                tags = None
            named = _text(tags[0]) if isinstance(tags, list) and tags else ""
        repo, tag, digest = image_name(named)
        address = _address(_dict(doc.get("NetworkSettings")))
        shared = _text(host.get("NetworkMode"))
        if not address and shared.startswith("container:"):
            try:
                other = self._get(path, f"/containers/{quote(shared[10:], safe='')}/json")
                address = _address(_dict(other.get("NetworkSettings")))
            except NotKnown:
                pass
        name = _text(doc.get("Name")).removeprefix("/")
        return {
            "id": container,
            "full_id": _text(doc.get("Id")),
            "type": kind,
            "name": name,
            "image": image,
            "imageid": imageid,
            "imagerepo": repo,
            "imagetag": tag or "latest",
            "imagedigest": digest,
            "privileged": host.get("Privileged") is True,
            "is_pod_sandbox": name.startswith("k8s_POD"),
            "ip": address or "0.0.0.0",
            "labels": labels(config.get("Labels")),
        }

    def _get(self, path: str, resource: str) -> dict[str, Any]:
        """A document of the API. Raises NotKnown."""
        with self._connected(path) as connection:
            connection.sendall(f"GET {resource} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(connection, method="GET")
            try:
                answer.begin()
                if answer.status != 200:
                    raise NotKnown
                data = answer.read(MAX_LIVE_ANSWER_BYTES + 1)
                if len(data) > MAX_LIVE_ANSWER_BYTES or answer.length:  # length: what is missing of it
                    raise NotKnown
            finally:
                answer.close()
            doc = json.loads(data)
        if not isinstance(doc, dict):
            raise NotKnown
        return doc

    # CRI: runtime.v1.RuntimeService, k8s.io/cri-api/pkg/apis/runtime/v1/api.proto

    def _cri_facts(self, path: str, container: str) -> dict[str, Any]:
        version, runtime = self._runtime(path)
        kind = {"containerd": CT_CONTAINERD, "cri-o": CT_CRIO}.get(runtime, CT_CRI)
        question = grpc.text_field(1, container) + b"\x10\x01"  # verbose
        try:
            answer = _message(self._call(path, version, "ContainerStatus", question))
        except NotKnown:
            # A pod's own (pause) container is none for the CRI.
            sandbox = self._sandbox(path, version, container)
            return {
                "id": container,
                "full_id": sandbox["id"],
                "type": kind,
                "name": sandbox["name"],
                "image": "",
                "imageid": "",
                "imagetag": "",
                "is_pod_sandbox": True,
                "ip": sandbox["ip"],
                "labels": sandbox["labels"],
                "pod_sandbox_id": sandbox["id"],
                "pod_sandbox_labels": sandbox["labels"],
            }
        status, info = _message(answer.get(1)), _info(answer)
        if not _string(status.get(1)).startswith(container):
            raise NotKnown
        image, reference = _string(_message(status.get(8)).get(1)), _string(status.get(9))
        repo, tag, digest = image_name(image)
        found = labels(_map(status.get(12)))
        restarts = _map(status.get(13)).get(_RESTARTS)
        if restarts is not None:
            found.setdefault(_RESTARTS, restarts)
        facts: dict[str, Any] = {
            "id": container,
            "full_id": _string(status.get(1)),
            "type": kind,
            "name": _string(_message(status.get(2)).get(1)),
            "image": image,
            "imageid": reference.rpartition(":")[2] if _DIGEST.match(reference) else "",
            "imagerepo": repo,
            "imagetag": tag,
            "imagedigest": digest or reference.partition("@")[2],
            "privileged": _privileged(info),
            "is_pod_sandbox": False,
            "labels": found,
        }
        sandbox_id = info.get("sandboxID")
        if isinstance(sandbox_id, str) and 0 < len(sandbox_id) < 100:
            try:
                sandbox = self._sandbox(path, version, sandbox_id)
            except NotKnown:
                return facts
            facts |= {"ip": sandbox["ip"], "pod_sandbox_id": sandbox_id, "pod_sandbox_labels": sandbox["labels"]}
        return facts

    def _runtime(self, path: str) -> tuple[str, str]:
        """The version of the CRI that a socket speaks, and the runtime's name."""
        if path not in self._runtimes:
            for version in _CRI_VERSIONS:
                try:
                    answer = _message(self._call(path, version, "Version", b""))
                except NotKnown:
                    continue
                self._runtimes[path] = (version, _string(answer.get(2)))
                break
            else:
                raise NotKnown
        return self._runtimes[path]

    def _sandbox(self, path: str, version: str, sandbox: str) -> dict[str, Any]:
        answer = _message(self._call(path, version, "PodSandboxStatus", grpc.text_field(1, sandbox)))
        status = _message(answer.get(1))
        if not _string(status.get(1)).startswith(sandbox):
            raise NotKnown
        return {
            "id": _string(status.get(1)),
            "name": _string(_message(status.get(2)).get(1)),
            "ip": _string(_message(status.get(5)).get(1)) or "0.0.0.0",
            "labels": labels(_map(status.get(7))),
        }

    def _call(self, path: str, version: str, method: str, message: bytes) -> list[bytes]:
        with self._connected(path) as connection:
            return [grpc.call(connection, f"/{version}.RuntimeService/{method}", message)]


def event(facts: dict[str, Any], ts: int) -> bytes:
    """The block of a PPME_CONTAINER_JSON_2_E event; ts in ns since 1970."""
    document = json.dumps({"container": facts}, separators=(",", ":"), ensure_ascii=False)
    if len(document) > _MAX_JSON:
        # As libsinsp does for documents that are too large.
        document = json.dumps({"container": {**facts, "labels": {}, "pod_sandbox_labels": {}}})
    out = io.BytesIO()
    data = document.encode("utf-8", "replace") + b"\0"
    # tid -1, as libsinsp has it; the event type's payload is large: 32-bit lengths.
    ScapWriter(out).event(ts, -1, "PPME_CONTAINER_JSON_2_E", [data], block_type=blocks.EV_V2_LARGE)
    return out.getvalue()


def image_name(name: str) -> tuple[str, str, str]:
    """(repository, tag, digest) of an image's name: of host:5000/a:tag@sha256:1, host:5000/a and tag and sha256:1."""
    rest, _, digest = name.partition("@")
    repo, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return rest, "", digest
    return repo, tag, digest


def labels(given: Any) -> dict[str, str]:
    """Labels as far as limits.MAX_LABELS_BYTES goes."""
    found: dict[str, str] = {}
    left = MAX_LABELS_BYTES
    if isinstance(given, dict):
        for key, value in given.items():
            text = _text(value)
            left -= len(key) + len(text)
            if left < 0:
                break
            found[key] = text
    return found


def _end(connection: socket.socket | None) -> None:
    """Makes a call that waits on the connection return."""
    if connection is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _text(value: Any) -> str:
    return value[:MAX_LIVE_TEXT_CHARS] if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _address(settings: dict[str, Any]) -> str:
    """A container's address in the only network, or in the first that has one."""
    if address := _text(settings.get("IPAddress")):
        return address
    for network in _dict(settings.get("Networks")).values():
        if address := _text(_dict(network).get("IPAddress")):
            return address
    return ""


# Messages: values by field number, of which each may come several times.


def _message(values: list[Any] | None) -> dict[int, list[Any]]:
    """The last of a field's values as a message. Raises NotKnown where it is damaged."""
    found: dict[int, list[Any]] = {}
    if values and isinstance(values[-1], bytes):
        try:
            for number, value in grpc.fields(values[-1]):
                found.setdefault(number, []).append(value)
        except grpc.GrpcError:
            raise NotKnown from None
    return found


def _string(values: list[Any] | None) -> str:
    return values[-1].decode("utf-8", "replace") if values and isinstance(values[-1], bytes) else ""


def _map(values: list[Any] | None) -> dict[str, str]:
    pairs = (_message([value]) for value in values or [])
    return {_string(pair.get(1)): _string(pair.get(2)) for pair in pairs}


def _info(answer: dict[int, list[Any]]) -> dict[str, Any]:
    """The runtime's own document about a container, which a verbose answer has."""
    try:
        return _dict(json.loads(_map(answer.get(2)).get("info", "")))
    except (ValueError, RecursionError):
        return {}


def _privileged(info: dict[str, Any]) -> bool:
    """cri-o says it openly, containerd in the container's configuration."""
    if info.get("privileged") is True:
        return True
    linux = _dict(_dict(info.get("config")).get("linux"))
    return _dict(linux.get("security_context")).get("privileged") is True
