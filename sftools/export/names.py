"""What a file's name says: its time, its series; and the key of its object."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

# S3's bound is 1,024 bytes of UTF-8; room is left for the suffix of a second version.
MAX_KEY_BYTES = 1024 - 32
# A component is a file's name in a directory, and in stores that keep objects as files.
MAX_COMPONENT_BYTES = 255 - 32

_EPOCH = re.compile(
    r"(?P<series>(?:.*[^0-9])?)(?P<digits>[0-9]{9,10}|[0-9]{13}|[0-9]{16}|[0-9]{19})(?P<rest>\.sf)?", re.DOTALL
)
# Digits of an epoch in s, ms, us, ns: what a second is.
_UNITS = {9: 1, 10: 1, 13: 10**3, 16: 10**6, 19: 10**9}


class NameTime(NamedTuple):
    """series: what the names of one series have in common; ns: time in the name, in ns since 1970."""

    series: str
    ns: int


def name_time(name: str) -> NameTime | None:
    """The time in a name that is or ends in an epoch (s, ms, us or ns; `.sf` may follow); None where it has none."""
    found = _EPOCH.fullmatch(name)
    if not found:
        return None
    digits = found["digits"]
    return NameTime(found["series"] + "\0" + (found["rest"] or ""), int(digits) * 10**9 // _UNITS[len(digits)])


@dataclass(frozen=True, slots=True)
class KeyRule:
    """The parts of a key that do not depend on the file; what is empty is left out. suffix: of compressed objects."""

    prefix: str = ""
    clusterid: str = ""
    nodename: str = ""
    nodeip: str = ""
    suffix: str = ""

    def key(self, relative: str) -> str:
        """The key for a file by its path below the directory, as docs/sf-exporter.md has it.

        Two paths never get the same key, whatever bytes they have.
        """
        parts = [_component(part) for part in self.prefix.split("/") if part]
        parts += [_component(part) for part in (self.clusterid, self.nodename, self.nodeip) if part]
        *directories, name = relative.split("/")
        parts += [_component(part) for part in directories]
        if time := name_time(name):
            parts.append(datetime.fromtimestamp(time.ns // 10**9, UTC).strftime("%Y/%m/%d"))
        ending = (f".{escape(self.nodeip)}" if self.nodeip else "") + ".sf" + self.suffix
        key = "/".join([*parts, _component(name, ending)])
        return key if len(key.encode()) <= MAX_KEY_BYTES else _component(key.replace("/", "%2F"), ending)


def _component(text: str, ending: str = "") -> str:
    """A component of a key, of bounded length: of a longer one the beginning and a digest."""
    whole = escape(text) + ending
    if len(whole.encode()) <= MAX_COMPONENT_BYTES:
        return whole
    digest = hashlib.sha256(os.fsencode(text)).hexdigest()[:32]
    room = MAX_COMPONENT_BYTES - len(ending.encode()) - 33
    return escape(text).encode()[: max(room, 0)].decode(errors="ignore").rstrip("%.") + f"~{digest}{ending[-64:]}"


def other_version(key: str, sha256: str) -> str:
    """The key for content whose own key has other content: made of the content, so that it is found again."""
    head, dot, tail = key.rpartition(".sf")
    return f"{head}.{sha256[:16]}{dot}{tail}"


def escape(text: str) -> str:
    """Text for a component of a key: bytes that are no UTF-8, what is not printable, `%`, `~`, `/` and `\\` become %XX.

    Different texts stay different. What consists of dots only is escaped too.
    """
    out = []
    for char in text:
        if char.isprintable() and char not in "%~/\\":
            out.append(char)
        else:
            out.append("".join(f"%{byte:02X}" for byte in os.fsencode(char)))
    joined = "".join(out)
    return joined.replace(".", "%2E") if joined.strip(".") == "" else joined


def meta_text(text: str) -> str:
    """A value for metadata, which is printable ASCII: other bytes become %XX."""
    return "".join(
        char if " " <= char <= "~" and char != "%" else "".join(f"%{byte:02X}" for byte in os.fsencode(char))
        for char in text.strip()
    )[:1024]
