"""Records made by hand, as tuples of FlattenedSFReader, and what they hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sftools.schema import sysflow as sf
from sftools.schema.objtypes import BRANCHES

SHARED = Path(__file__).parents[3] / "shared" / "traces"
TS = 1_531_776_736_370_537_340  # 2018-07-16T21:32:16.370537340
OID = sf.OID(TS - 1, 42)
POID = sf.OID(TS - 2, 7)


def process(**changes: Any) -> sf.Process:
    values: dict[str, Any] = {
        "state": sf.SFObjectState.CREATED, "oid": OID, "poid": POID, "ts": TS, "exe": "/usr/bin/node",
        "exeArgs": "-c server.js, a=b", "uid": 0, "userName": "root", "gid": 1000, "groupName": "", "tty": False,
        "containerId": None, "entry": True, "cwd": "/srv", "env": ["HOME=/root"],
    }  # fmt: skip
    return sf.Process(**values | changes)


PARENT = process(oid=POID, poid=None, exe="/usr/sbin/sshd", exeArgs="", uid=1000)
CONTAINER = sf.Container("c0ffee", "web", "node:18", "sha", sf.ContainerType.CT_DOCKER, False, None)
FILE = sf.File(sf.SFObjectState.REUP, bytes(20), TS, ord("f"), "/etc/passwd", None)


def record(
    kind: str, activity: Any, parent: Any = None, process: Any = None, container: Any = None, files: Any = None,
    pod: Any = None,
) -> tuple[Any, ...]:  # fmt: skip
    flow = "Flow" in kind
    header = sf.SFHeader(5, "host", "10.1.1.1", "trace")
    return (
        BRANCHES[kind], header, pod, container, parent, process, files,
        None if flow else activity, activity if flow else None,
    )  # fmt: skip


def file_flow(**changes: Any) -> tuple[Any, ...]:
    """Of a process in a container with a known parent: opened for writing, written, closed."""
    values: dict[str, Any] = {
        "procOID": OID, "ts": TS, "tid": 42, "opFlags": 0x680, "openFlags": 0x6, "endTs": TS + 5, "fileOID": bytes(20),
        "fd": 3, "numRRecvOps": 0, "numWSendOps": 1, "numRRecvBytes": 0, "numWSendBytes": 10,
    }  # fmt: skip
    return record("FileFlow", sf.FileFlow(**values | changes), PARENT, process(), CONTAINER, (FILE, None))


def network_flow(sip: str = "10.0.0.1", dip: str = "93.184.216.34", **changes: Any) -> tuple[Any, ...]:
    """Of a process on the host without a known parent: connected and read."""

    def held(address: str) -> int:
        return int.from_bytes(bytes(map(int, address.split("."))), "little", signed=True)

    values: dict[str, Any] = {
        "procOID": OID, "ts": TS, "tid": 42, "opFlags": 0x140, "endTs": TS, "sip": held(sip), "sport": 40000,
        "dip": held(dip), "dport": 443, "proto": 6, "fd": 5, "numRRecvOps": 1, "numWSendOps": 0, "numRRecvBytes": 2048,
        "numWSendBytes": 0, "sip6": None, "dip6": None,
    }  # fmt: skip
    return record("NetworkFlow", sf.NetworkFlow(**values | changes), None, process())


def exec_event(**changes: Any) -> tuple[Any, ...]:
    """A failed exec of a process that the trace does not tell of."""
    values: dict[str, Any] = {"procOID": OID, "ts": TS, "tid": 42, "opFlags": 0x2, "args": [], "ret": -2}
    return record("ProcessEvent", sf.ProcessEvent(**values | changes))


def k8s_event() -> tuple[Any, ...]:
    event = sf.K8sEvent(sf.K8sComponent.K8S_PODS, sf.K8sAction.K8S_COMPONENT_ADDED, TS, "hello")
    return record("K8sEvent", event)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The captured traces beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/traces")
    return SHARED


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """What makes records, by name."""
    return SimpleNamespace(
        file_flow=file_flow, network_flow=network_flow, exec_event=exec_event, k8s_event=k8s_event, process=process,
        record=record,
    )  # fmt: skip
