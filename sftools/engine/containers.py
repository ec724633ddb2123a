"""Containers: their ids from cgroup paths, their metadata from container events.

Cgroup layouts: falcosecurity/libs userspace/libsinsp/container_engine/*.cpp. The JSON is that of PPME_CONTAINER_JSON_E.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Any

from sftools.limits import MAX_CGROUPS_BYTES, MAX_CONTAINERS, MAX_KNOWN_CGROUPS_BYTES, MAX_LABELS_BYTES, MAX_NAME_BYTES

CT_DOCKER, CT_LXC, CT_LIBVIRT_LXC, CT_MESOS, CT_RKT, CT_CUSTOM, CT_CRI, CT_CONTAINERD, CT_CRIO, CT_BPM = range(10)

# Ids of 64 hexadecimal digits are shortened to 12, as docker ps does.
_ID = rb"([0-9a-f]{12})[0-9a-f]{52}"
_LAYOUTS: tuple[tuple[re.Pattern[bytes], int], ...] = (
    (re.compile(rb"/(?:crio|cri-o)-(?:conmon-)?" + _ID + rb"(?:\.scope)?(?:/|\Z)"), CT_CRIO),
    (re.compile(rb"[:/]cri-containerd[:-]" + _ID + rb"(?:\.scope)?\Z"), CT_CONTAINERD),
    (re.compile(rb"/libpod-(?:conmon-)?" + _ID + rb"(?:\.scope)?(?:/|\Z)"), CT_CUSTOM),
    (re.compile(rb"/docker-" + _ID + rb"\.scope(?:/|\Z)"), CT_DOCKER),
    (re.compile(rb"/" + _ID + rb"\Z"), CT_DOCKER),
    (re.compile(rb"/lxc(?:\.payload)?[/.]([^/]+)"), CT_LXC),
    (re.compile(rb"/([^/]+)\.libvirt-lxc(?:/|\Z)"), CT_LIBVIRT_LXC),
    (re.compile(rb"/machine-lxc\\x2d([^/]+)\.scope"), CT_LIBVIRT_LXC),
    (re.compile(rb"/mesos/([0-9a-f-]{36})"), CT_MESOS),
    (re.compile(rb"/machine-rkt\\x2d([0-9a-f\\x-]{36,48})\.scope"), CT_RKT),
    (re.compile(rb"/bpm-([^/.]+)"), CT_BPM),
)

# Container events carry libsinsp's own numbering, which went on after the schema's enum was fixed.
_TYPES = {10: CT_CUSTOM, 11: CT_CUSTOM}


class CgroupIds:
    """Remembers which container a thread's cgroups mean: the same few strings come with every fork."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[bytes, int] | None] = {}
        self._bytes = 0

    def find(self, cgroups: bytes) -> tuple[bytes, int] | None:
        """(container id, type) of NUL-separated `subsys=path` entries; None outside of containers."""
        cgroups = cgroups[:MAX_CGROUPS_BYTES]
        try:
            return self._known[cgroups]
        except KeyError:
            pass
        found = None
        for entry in cgroups.split(b"\0"):
            path = entry.partition(b"=")[2]
            if len(path) > 1 and (found := _match(path)):
                break
        if self._bytes > MAX_KNOWN_CGROUPS_BYTES or len(self._known) >= MAX_CONTAINERS:
            self._known.clear()
            self._bytes = 0
        self._known[cgroups] = found
        self._bytes += len(cgroups)
        return found


def _match(path: bytes) -> tuple[bytes, int] | None:
    for layout, kind in _LAYOUTS:
        if found := layout.search(path):
            return found[1][:MAX_NAME_BYTES], kind
    return None


@dataclass(slots=True)
class PodFacts:
    """A pod as the labels of one of its containers name it."""

    id: bytes
    name: bytes
    namespace: bytes
    internal_ip: list[int] = field(default_factory=list)
    restart_count: int = 0
    labels: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class ContainerFacts:
    """The metadata of one container event; `image` is `image:tag`."""

    id: bytes
    name: bytes
    image: bytes
    imageid: bytes
    type: int
    privileged: bool
    pod: PodFacts | None = None


# What a label takes in memory beside its text.
_LABEL_OVERHEAD = 100


def _text(value: Any) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b""


def _name(value: Any) -> bytes:
    return _text(value)[:MAX_NAME_BYTES]


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else 0


def _type(value: Any) -> int:
    number = _number(value)
    return _TYPES.get(number, number if number <= CT_BPM else CT_CUSTOM)


def _address(value: Any) -> list[int]:
    """An address as the schema's longs hold it: IPv4 as the network-order u32 read little-endian, IPv6 as two such."""
    try:
        # ip_address() would take a number for an address too.
        address = ip_address(str(value))
    except ValueError:
        return []
    if isinstance(address, IPv4Address):
        return [int.from_bytes(address.packed, "little")] if int(address) else []
    return [int.from_bytes(address.packed[i : i + 8], "little", signed=True) for i in (0, 8)]


def from_json(raw: bytes) -> ContainerFacts | None:
    """The facts of a PPME_CONTAINER_JSON event; None where it is no JSON of that form (cut, hostile)."""
    import orjson  # here, for captures without containers start without it

    try:
        doc = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    doc = doc.get("container") if isinstance(doc, dict) else None
    if not isinstance(doc, dict) or not _text(doc.get("id")):
        return None
    return ContainerFacts(
        id=_name(doc["id"]),
        name=_name(doc.get("name")),
        image=_name(doc.get("image")) + b":" + _name(doc.get("imagetag")),
        imageid=_name(doc.get("imageid")),
        type=_type(doc.get("type")),
        privileged=doc.get("privileged") is True,
        pod=_pod(doc),
    )


def _pod(doc: dict[str, Any]) -> PodFacts | None:
    labels = doc.get("labels")
    if not isinstance(labels, dict):
        return None
    name, uid = _name(labels.get("io.kubernetes.pod.name")), _name(labels.get("io.kubernetes.pod.uid"))
    if not name and not uid:
        return None
    own = doc.get("pod_sandbox_labels")
    # The sandbox's labels are the pod's; where they are missing the container's serve.
    shown = own if isinstance(own, dict) and own else labels
    restarts = labels.get("io.kubernetes.container.restartCount") or labels.get(
        "annotation.io.kubernetes.container.restartCount"
    )
    return PodFacts(
        id=uid or name,
        name=name,
        namespace=_name(labels.get("io.kubernetes.pod.namespace")),
        internal_ip=_address(doc.get("ip")),
        restart_count=_number(int(restarts))
        if isinstance(restarts, str) and re.fullmatch(r"[0-9]{1,9}", restarts)
        else 0,
        labels=_labels(shown),
    )


def _labels(shown: dict[str, Any]) -> dict[bytes, bytes]:
    """Labels as text, as far as limits.MAX_LABELS_BYTES goes."""
    labels: dict[bytes, bytes] = {}
    left = MAX_LABELS_BYTES
    for key, value in shown.items():
        text = _text(value)
        left -= len(key) + len(text) + _LABEL_OVERHEAD
        if left < 0:
            break
        labels[_text(key)] = text
    return labels


def from_fields(id_: bytes, type_: int, name: bytes, image: bytes) -> ContainerFacts:
    """The facts of the old PPME_CONTAINER_E event, which has no tag and no image id."""
    return ContainerFacts(
        id=id_[:MAX_NAME_BYTES],
        name=name[:MAX_NAME_BYTES],
        image=image[:MAX_NAME_BYTES] + b":",
        imageid=b"",
        type=_type(type_),
        privileged=False,
    )
