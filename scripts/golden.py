"""Writes tests/fixtures/golden/NAME.txt: the records of tests/fixtures/NAME.scap as text, one a line, to be read. It
also writes recorded/NAME.txt of recorded/NAME.scap.

    scripts/golden.py            write what is not up to date (after reading the difference: that is the point)
    scripts/golden.py --check    say what is not up to date; exit 1 where anything is not

A line is a record with the field names of its Avro schema. Fields without a value (null, false, "", empty) are left
out. Times are microseconds since the scenarios' start, or in what was recorded its first process's second (+10.001us),
operations and flags have their names, a process is pid@createTS, a file its path. A capture that is damaged ends with a
line `error`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sftools.errors import SftoolsError  # noqa: E402
from sftools.libsysflow import convert  # noqa: E402
from sftools.reader import Record  # noqa: E402
from sftools.scap import tables  # noqa: E402
from sftools.schema import versions  # noqa: E402
from sftools.schema.opflags import op_names  # noqa: E402
from sftools.schema.sysflow import OID, File, Process, SFObjectState  # noqa: E402

FIXTURES = ROOT / "tests" / "fixtures"
RECORDED = FIXTURES / "recorded"
GOLDEN = FIXTURES / "golden"

_FULL = {"file_only": False, "file_read_mode": 0, "proc_flow": False}
SETTINGS: dict[str, dict[str, Any]] = {"defaults": {}, "everything on": _FULL}

# When scenarios begin that do not say; a time within an hour of a capture's start is shown relative to it.
_START_NS = 1_714_557_600 * 10**9
_HOUR_NS = 3600 * 10**9
_LONGEST_TEXT = 200
_NONE: tuple[Any, ...] = (None, False, "", [], {})
_O_FLAGS = {
    value: name.removeprefix("PPM_")
    for name, value in vars(tables).items()
    if name.startswith("PPM_O_") and value.bit_count() == 1
}


def captures() -> list[Path]:
    """Every capture that has a golden file."""
    return sorted([*FIXTURES.glob("*.scap"), *RECORDED.glob("*.scap")])


def lines(records: Iterator[Record], start: int) -> Iterator[str]:
    """The records as text, times since `start`; an error that ends them is the last line."""
    paths: dict[bytes, str] = {}
    try:
        for record in records:
            if isinstance(record, File):
                paths[record.oid] = record.path
            words = [type(record).__name__]
            for field in dataclasses.fields(record):
                value = getattr(record, field.name)
                if not any(value is none or (value == none and type(value) is type(none)) for none in _NONE):
                    words.append(_field(record, field.name, value, paths, start))
            yield " ".join(words)
    except SftoolsError as error:
        yield f"error {type(error).__name__} at offset {getattr(error, 'offset', None)}"


def _field(record: Record, name: str, value: Any, paths: dict[bytes, str], start: int) -> str:
    if isinstance(value, SFObjectState):
        return value.value
    if name in ("fileOID", "newFileOID"):
        text = _text(paths[value]) if value in paths else f"not written before: {value.hex()}"
    elif isinstance(record, File) and name == "oid":
        text = value.hex()[:12]
    elif isinstance(value, OID):
        text = f"{value.hpid}@{_time(value.createTS, start)}" if value.createTS else f"{value.hpid}@0"
    elif name in ("ts", "endTs"):
        text = _time(value, start)
    elif name == "opFlags":
        text = "|".join(op_names(value)) or "0"
    elif name == "openFlags":
        text = "|".join(flag for bit, flag in _O_FLAGS.items() if value & bit) or "0"
    elif name in ("sip", "dip"):
        text = _ip(value)
    elif name in ("hostIP", "internalIP"):
        text = ",".join(map(_ip, value))
    elif name in ("sip6", "dip6"):
        text = str(ipaddress.IPv6Address(value))
    elif name == "restype":
        text = chr(value)
    elif isinstance(value, str):
        text = _text(value)
    elif isinstance(value, list):
        text = "[" + ", ".join(_text(item) if isinstance(item, str) else str(item) for item in value) + "]"
    elif isinstance(value, dict):
        text = json.dumps(value)
    else:
        text = str(getattr(value, "value", value))
    return f"{name}={text}"


def _ip(address: int) -> str:
    """IPv4 as the schema has it: the u32 as captured, network order read as little-endian."""
    return str(ipaddress.IPv4Address((address & 0xFFFFFFFF).to_bytes(4, "little")))


def _time(ns: int, start: int) -> str:
    since = ns - start
    return f"+{since // 1000}.{since % 1000:03}us" if 0 <= since < _HOUR_NS else f"{ns}ns"


def _text(text: str) -> str:
    """As it is where it is plain, else as JSON; what is long is named by its length and SHA-1."""
    if len(text) > _LONGEST_TEXT:
        digest = hashlib.sha1(text.encode()).hexdigest()
        return f"{json.dumps(text[:20])}...({len(text)} characters, SHA-1 {digest})"
    return text if text.isascii() and text.isprintable() and not set(text) & set(' "\\') and text else json.dumps(text)


def _start(capture: Path) -> int:
    if capture.parent != RECORDED:
        return _START_NS
    first: int = next(record.ts for record in convert(capture) if isinstance(record, Process))
    return first - first % 10**9


def golden(capture: Path) -> str:
    """The text for a capture: a section for each setting, and for schema 6 where that has more."""
    start = _start(capture)
    sections = []
    for title, options in SETTINGS.items():
        five, six = (list(lines(convert(capture, schema=schema, **options), start)) for schema in (5, versions.LATEST))
        sections.append((title, five))
        # Apart from the header, which has the version.
        if five[1:] != six[1:]:
            sections.append((f"{title}, schema {versions.LATEST}", six))
    return "\n".join("\n".join((f"# {title}", *text, "")) for title, text in sections)


def golden_file(capture: Path) -> Path:
    """Where a capture's text is."""
    return GOLDEN / capture.relative_to(FIXTURES).with_suffix(".txt")


def outputs() -> dict[Path, str]:
    """Every golden file with what it should contain."""
    return {golden_file(capture): golden(capture) for capture in captures()}


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    files = outputs()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    orphans = [path for path in GOLDEN.rglob("*.txt") if path not in files]
    for path in stale:
        if arguments:
            print(f"{path.relative_to(ROOT)} is not what comes out: see scripts/golden.py", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)
    for path in orphans:
        print(f"{path.relative_to(ROOT)} has no capture: delete it", file=sys.stderr)
    return 1 if orphans or (stale and arguments) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
