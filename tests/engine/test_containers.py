"""Containers: whose cgroup a path is, and what their metadata says."""

from __future__ import annotations

import json
import struct
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.engine.containers import (
    CT_BPM,
    CT_CONTAINERD,
    CT_CRI,
    CT_CRIO,
    CT_CUSTOM,
    CT_DOCKER,
    CT_LIBVIRT_LXC,
    CT_LXC,
    CT_MESOS,
    CT_RKT,
    CgroupIds,
    from_fields,
    from_json,
)
from sftools.limits import MAX_LABELS_BYTES, MAX_NAME_BYTES

ID = "0123456789abcdef" * 4
SHORT = b"0123456789ab"


def find(path: str) -> tuple[bytes, int] | None:
    return CgroupIds().find(b"cpuset=%s\0" % path.encode())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/docker/{ID}", (SHORT, CT_DOCKER)),
        (f"/system.slice/docker-{ID}.scope", (SHORT, CT_DOCKER)),
        (f"/kubepods/besteffort/pod1/{ID}", (SHORT, CT_DOCKER)),
        (f"/kubepods.slice/kubepods-pod1.slice/docker-{ID}.scope", (SHORT, CT_DOCKER)),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", (SHORT, CT_CONTAINERD)),
        (f"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}", (SHORT, CT_CONTAINERD)),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", (SHORT, CT_CRIO)),
        (f"/kubepods/pod1/crio-{ID}", (SHORT, CT_CRIO)),
        (f"/kubepods.slice/crio-conmon-{ID}.scope", (SHORT, CT_CRIO)),
        (f"/machine.slice/libpod-{ID}.scope", (SHORT, CT_CUSTOM)),
        (f"/machine.slice/libpod-{ID}.scope/container", (SHORT, CT_CUSTOM)),
        (f"/machine.slice/libpod-conmon-{ID}.scope", (SHORT, CT_CUSTOM)),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", (SHORT, CT_CUSTOM)),
        (f"/docker-{ID}.scope/a\nb", (SHORT, CT_DOCKER)),
        (f"/crio-{ID}.scope/a\nb", (SHORT, CT_CRIO)),
        (f"/libpod-{ID}.scope/a\nb", (SHORT, CT_CUSTOM)),
        ("/lxc/web1", (b"web1", CT_LXC)),
        ("/lxc.payload/web1", (b"web1", CT_LXC)),
        ("/lxc.payload.web1/init.scope", (b"web1", CT_LXC)),
        ("/machine/vm1.libvirt-lxc", (b"vm1", CT_LIBVIRT_LXC)),
        ("/mesos/3ce7eee9-3f87-4cd9-9a4e-6d5d4f5a8d5c", (b"3ce7eee9-3f87-4cd9-9a4e-6d5d4f5a8d5c", CT_MESOS)),
        ("/bpm-vcap", (b"vcap", CT_BPM)),
    ],
)
def test_cgroups_of_containers(path: str, expected: tuple[bytes, int]) -> None:
    assert find(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/user.slice/user-1000.slice/session-1.scope",
        "/system.slice/docker.service",
        "/docker/" + ID[:-1],
        "/docker/" + ID.upper(),
        "/docker/" + ID + "0",
        "/docker/" + "g" * 64,
        "/kubepods/besteffort/pod1",
        "/system.slice/crio.service",
    ],
)
def test_cgroups_of_the_host(path: str) -> None:
    assert find(path) is None


def test_the_first_subsystem_in_a_container_counts() -> None:
    cgroups = b"name=systemd=/\0cpu=/docker/%s\0memory=/lxc/x\0" % ID.encode()
    assert CgroupIds().find(cgroups) == (SHORT, CT_DOCKER)


def test_an_answer_is_remembered_and_the_memory_bounded() -> None:
    ids = CgroupIds()
    for number in range(10_000):
        assert ids.find(b"cpu=/lxc/c%d\0" % number) == (b"c%d" % number, CT_LXC)
    assert ids.find(b"cpu=/lxc/c1\0") == (b"c1", CT_LXC)
    assert len(ids._known) <= 5000


@given(st.binary() | st.text("/=-.:abcdef0123456789crioplxd\\", max_size=300).map(str.encode))
def test_any_cgroups_give_a_container_or_none(cgroups: bytes) -> None:
    found = CgroupIds().find(cgroups)
    assert found is None or (isinstance(found[0], bytes) and 0 <= found[1] <= CT_BPM)


@pytest.mark.parametrize("path", ["/docker/" * 8000, "/crio-" + "a" * 64_000, "/lxc/" + "/" * 60_000, "/bpm-" * 12_000])
def test_a_cgroup_of_64_kb_takes_no_time(path: str) -> None:
    """The patterns do not go back over what they have read; were it so, this would not end."""
    for _ in range(20):
        find(path)


# Metadata


def doc(**fields: Any) -> bytes:
    return json.dumps({"container": {"id": "abc", **fields}}).encode()


def test_facts_of_a_container() -> None:
    facts = from_json(
        doc(name="web", image="nginx", imagetag="1.25", imageid="ff00", type=7, privileged=True, labels={"app": "web"})
    )
    assert facts is not None
    assert (facts.id, facts.name, facts.image, facts.imageid) == (b"abc", b"web", b"nginx:1.25", b"ff00")
    assert (facts.type, facts.privileged, facts.pod) == (CT_CONTAINERD, True, None)


def test_what_is_missing_is_empty() -> None:
    facts = from_json(doc())
    assert facts is not None
    assert (facts.name, facts.image, facts.imageid, facts.type, facts.privileged) == (b"", b":", b"", CT_DOCKER, False)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(0, CT_DOCKER), (1, CT_LXC), (4, CT_RKT), (6, CT_CRI), (8, CT_CRIO), (9, CT_BPM), (10, CT_CUSTOM), (11, CT_CUSTOM),
     (12, CT_CUSTOM), (99, CT_CUSTOM), (-1, CT_DOCKER), (2**70, CT_DOCKER), ("docker", CT_DOCKER), (None, CT_DOCKER),
     (True, CT_DOCKER), (1.5, CT_DOCKER)],
)  # fmt: skip
def test_types_of_newer_numbering_are_custom_and_what_is_no_type_docker(number: Any, kind: int) -> None:
    facts = from_json(doc(type=number))
    assert facts is not None
    assert facts.type == kind


POD = {
    "io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.uid": "uid-1", "io.kubernetes.pod.namespace": "prod",
    "io.kubernetes.container.restartCount": "3", "app": "web",
}  # fmt: skip


def test_labels_of_kubernetes_make_a_pod() -> None:
    facts = from_json(doc(labels=POD, ip="10.0.0.7"))
    assert facts is not None
    pod = facts.pod
    assert pod is not None
    assert (pod.id, pod.name, pod.namespace, pod.restart_count) == (b"uid-1", b"web-0", b"prod", 3)
    assert pod.labels[b"app"] == b"web"
    assert pod.internal_ip == [struct.unpack("<I", ip_address("10.0.0.7").packed)[0]]


def test_the_sandbox_labels_are_the_pods() -> None:
    facts = from_json(doc(labels=POD, pod_sandbox_labels={"tier": "front"}))
    assert facts is not None
    assert facts.pod is not None
    assert facts.pod.labels == {b"tier": b"front"}


def test_a_pod_without_uid_goes_by_its_name() -> None:
    facts = from_json(doc(labels={"io.kubernetes.pod.name": "web-0"}))
    assert facts is not None
    assert facts.pod is not None
    assert facts.pod.id == b"web-0"


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("fe80::1", 2), ("::1", 2), ("0.0.0.0", 0), ("", 0), ("x", 0), ("10.0.0.7/24", 0)]
)
def test_addresses(text: str, count: int) -> None:
    """IPv4 is one number, IPv6 two; none where there is no address."""
    facts = from_json(doc(labels=POD, ip=text))
    assert facts is not None
    assert facts.pod is not None
    assert len(facts.pod.internal_ip) == count


@pytest.mark.parametrize(
    "address",
    [
        5,
        True,
        2**64,
        None,
        1.5,
        [],
        {},
        "10.0.0.256",
    ],
)
def test_an_address_that_is_no_text_is_none(address: Any) -> None:
    facts = from_json(doc(labels=POD, ip=address))
    assert facts is not None
    assert facts.pod is not None
    assert facts.pod.internal_ip == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"3",
        b'"x"',
        b"{}",
        b'{"container": null}',
        b'{"container": []}',
        b'{"container": {}}',
        b'{"container": {"id": ""}}',
        b'{"container": {"id": 5}}',
        b'{"container": {"id": ["a"]}}',
        b'{"container": {"id": "\\ud800"}}',
        b'{"container": {"id": "\xff"}}',
        b"[" * 60_000,
        b'{"container":' * 10_000,
        b'{"container": {"id": "abc"',
        b"\0" * 1000,
    ],
)
def test_what_is_no_metadata_is_none(raw: bytes) -> None:
    assert from_json(raw) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["name", "image", "imagetag", "imageid", "type", "privileged", "labels", "pod_sandbox_labels", "ip"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.dictionaries(st.sampled_from(list(POD)), JSON))
def test_any_values_give_facts_of_the_right_types(fields: dict[str, Any], labels: dict[str, Any]) -> None:
    facts = from_json(json.dumps({"container": {"id": "abc", "labels": labels, **fields}}).encode())
    if facts is None:
        # Lone surrogates and huge integers are no JSON to orjson.
        return
    assert all(isinstance(text, bytes) for text in (facts.name, facts.image, facts.imageid))
    assert 0 <= facts.type <= CT_BPM
    assert isinstance(facts.privileged, bool)
    if facts.pod is not None:
        assert facts.pod.id
        assert 0 <= facts.pod.restart_count < 2**31
        assert all(-(2**63) <= number < 2**63 for number in facts.pod.internal_ip)
        assert all(isinstance(text, bytes) for pair in facts.pod.labels.items() for text in pair)


@given(st.binary(max_size=100))
def test_any_bytes_are_metadata_or_none(raw: bytes) -> None:
    from_json(raw)
    from_json(b'{"container": {"id": "abc", "labels": ' + raw + b"}}")


def test_labels_are_bounded() -> None:
    labels = {f"label{i}": "x" * 1000 for i in range(1000)}
    facts = from_json(doc(labels=POD | labels))
    assert facts is not None
    assert facts.pod is not None
    assert sum(len(key) + len(value) for key, value in facts.pod.labels.items()) <= MAX_LABELS_BYTES


@pytest.mark.parametrize("count", ["-1", "1e3", " 3", "9" * 10, "9" * 5000, "\u0663", ""])
def test_a_restart_count_that_is_none_is_0(count: str) -> None:
    facts = from_json(doc(labels=POD | {"io.kubernetes.container.restartCount": count}))
    assert facts is not None
    assert facts.pod is not None
    assert facts.pod.restart_count == 0


def test_names_are_bounded() -> None:
    long = "x" * 500_000
    pod = {f"io.kubernetes.pod.{key}": long for key in ("name", "uid", "namespace")}
    facts = from_json(doc(id=long, name=long, image=long, imagetag=long, imageid=long, labels=pod))
    assert facts is not None
    assert facts.pod is not None
    old = from_fields(long.encode(), 0, long.encode(), long.encode())
    found = find("/lxc/" + "x" * 10_000)
    assert found is not None
    names = [facts.id, facts.name, facts.imageid, facts.pod.id, facts.pod.name, facts.pod.namespace, old.id, old.name]
    assert {len(name) for name in [*names, found[0]]} == {MAX_NAME_BYTES}
    assert max(len(facts.image), len(old.image)) <= 2 * MAX_NAME_BYTES + 1
    # Containers are found by either.
    assert facts.id == old.id == found[0]


def test_the_old_event_has_no_tag() -> None:
    facts = from_fields(b"abc", 0, b"web", b"nginx")
    assert (facts.id, facts.name, facts.image, facts.type, facts.pod) == (b"abc", b"web", b"nginx:", CT_DOCKER, None)
