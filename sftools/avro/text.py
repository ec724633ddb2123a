"""How arbitrary bytes become Avro strings, and back.

Kernel paths and arguments are arbitrary bytes; an Avro string is UTF-8. Valid UTF-8 stays as it is. Every byte that is
not part of a valid UTF-8 sequence becomes the character U+EF00 plus the byte (so U+EF80 to U+EFFF, a private-use
range); so do the bytes of a sequence that itself encodes one of those characters, which makes the mapping reversible.
"""

from __future__ import annotations

import codecs
import re

_BASE = 0xEF00
_TAKEN = re.compile("[\uef80-\uefff]")
_ESCAPED = re.compile("[\uef80-\uefff]+")


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    bad = error.object[error.start : error.end]
    return "".join(chr(_BASE + byte) for byte in bad), error.end


codecs.register_error("sftools.escape", _escape)


def to_str(raw: bytes) -> str:
    """Decode capture bytes: valid UTF-8 as it is, every other byte as U+EF00 + byte."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        if b"\xee\xbe" not in raw and b"\xee\xbf" not in raw:
            return raw.decode("utf-8", "sftools.escape")
    else:
        if not _TAKEN.search(text):
            return text
    # A sequence for U+EF80..U+EFFF is split off and escaped byte by byte, so that it cannot be taken for an escape.
    parts = re.split(b"(\xee[\xbe\xbf][\x80-\xbf])", raw)
    return "".join(
        "".join(chr(_BASE + byte) for byte in part) if i % 2 else part.decode("utf-8", "sftools.escape")
        for i, part in enumerate(parts)
    )


def to_avro(raw: bytes) -> bytes:
    """The UTF-8 bytes of to_str(raw)."""
    return to_str(raw).encode("utf-8")


def from_str(text: str) -> bytes:
    """The bytes that to_str was given."""
    out = bytearray()
    at = 0
    for found in _ESCAPED.finditer(text):
        out += text[at : found.start()].encode("utf-8")
        out += bytes(ord(char) - _BASE for char in found[0])
        at = found.end()
    out += text[at:].encode("utf-8")
    return bytes(out)
