"""The values of SysFlow records as people read them. The names are those of the existing Python package."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any

from sftools.schema import opflags
from sftools.schema.openflags import open_flag_names

_FILE_OPS = ("MKDIR", "RMDIR", "LINK", "SYMLINK", "UNLINK", "RENAME")
_PROCESS_OPS = ("CLONE", "EXEC", "EXIT", "SETUID")
# The eleven columns of all other operations.
_LETTER_OPS = (
    ("O", opflags.OP_OPEN),
    ("A", opflags.OP_ACCEPT),
    ("C", opflags.OP_CONNECT),
    ("W", opflags.OP_WRITE_SEND),
    ("R", opflags.OP_READ_RECV),
    ("N", opflags.OP_SETNS),
    ("M", opflags.OP_MMAP),
    ("S", opflags.OP_SHUTDOWN),
    ("C", opflags.OP_CLOSE),
    ("T", opflags.OP_TRUNCATE),
    ("D", opflags.OP_DIGEST),
)


@lru_cache(4096)
def getOpFlagsStr(opFlags: int) -> str:
    """The operations of a bitmap as sysprint shows them.

    "RENAME" or another operation on names; else "CLONE", "EXEC" and so on, several without a blank between; else
    eleven columns with a letter or a blank each, such as "O  WR   C  ".
    """
    names = set(opflags.op_names(opFlags))
    for group in (_FILE_OPS, _PROCESS_OPS):
        if chosen := [name for name in group if name in names]:
            return "".join(chosen)
    return "".join(letter if opFlags & flag else " " for letter, flag in _LETTER_OPS)


def getOpFlags(opFlags: int) -> set[str]:
    """The names of a bitmap's operations; WRITE_SEND gives WRITE and SEND, READ_RECV READ and RECV."""
    return {part for name in opflags.op_names(opFlags) for part in name.split("_")}


def getOpStr(opFlags: int) -> str:
    """The names of a bitmap's operations with | between: "EXEC", "CLONE|EXIT", "OPEN|READ_RECV"; "" without any."""
    return "|".join(opflags.op_names(opFlags))


def getOpFlagsDict(opFlags: int) -> dict[str, bool]:
    """True by the lower-case name of each operation on files and sockets that is set, in the order of the columns."""
    return {opflags.NAMES[flag].partition("_")[0].lower(): True for _, flag in _LETTER_OPS if opFlags & flag}


def getOpenFlags(openFlags: int) -> set[str]:
    """The names of an open call's flags; RDWR where both RDONLY and WRONLY are set."""
    return set(open_flag_names(openFlags))


def getTimeStr(ts: int) -> str:
    """Nanoseconds since the epoch as local time: 07/16/2018T21:32:16.370537."""
    return datetime.fromtimestamp(ts / 1e9).strftime("%m/%d/%YT%H:%M:%S.%f")


def getTimeStrIso8601(ts: int) -> str:
    """Nanoseconds since the epoch as ISO 8601 in UTC without a zone; without a fraction where that is 0.

    By way of a double, as the existing package does it: the last digit may be off by one.
    """
    fraction, seconds = math.modf(ts / 1e9)
    micros = round(fraction * 1e6)
    return second_text(int(seconds) + micros // 1_000_000) + (f".{micros % 1_000_000:06}" if micros % 1_000_000 else "")


@lru_cache(64)
def second_text(second: int) -> str:
    """Seconds since the epoch as ISO 8601 in UTC without a zone."""
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


@lru_cache(65536)
def getIpIntStr(ipInt: int) -> str:
    """An IPv4 address as records have it (bytes in network order, read little-endian) in dotted form."""
    return f"{ipInt & 0xFF}.{ipInt >> 8 & 0xFF}.{ipInt >> 16 & 0xFF}.{ipInt >> 24 & 0xFF}"


def ip_text(ipv4: int, ipv6: bytes | None = None) -> str:
    """The address of a flow, which has an IPv6 address (16 bytes) or an IPv4 one."""
    return getIpIntStr(ipv4) if ipv6 is None else str(IPv6Address(ipv6))


def getNetFlowStr(nf: Any) -> str:
    """A NetworkFlow's ends: sip:sport-dip:dport; an IPv6 address stands in brackets."""
    ends = []
    for side in ("sip", "dip"):
        ipv6 = getattr(nf, f"{side}6", None)
        ends.append(ip_text(getattr(nf, side)) if ipv6 is None else f"[{ip_text(0, ipv6)}]")
    return f"{ends[0]}:{nf.sport}-{ends[1]}:{nf.dport}"


def getEnvStr(env: Iterable[str]) -> str:
    """An environment as NAME=value;NAME=value, without empty entries."""
    return ";".join(entry for entry in env if entry not in ("", "="))
