"""Matching with wildcards and path prefixes, without a pattern that can take exponential time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

Matcher = Callable[[bytes], bool]

_WILD = re.compile(rb"[*?[\\]")
_EXTENDED = re.compile(rb"[?*+@!]\(")
_CLASSES = {
    b"alnum": rb"0-9A-Za-z", b"alpha": rb"A-Za-z", b"blank": rb" \t", b"cntrl": rb"\x00-\x1f\x7f", b"digit": rb"0-9",
    b"graph": rb"!-~", b"lower": rb"a-z", b"print": rb" -~", b"punct": rb"!-/:-@\[-`{-~", b"space": rb"\t-\r ",
    b"upper": rb"A-Z", b"xdigit": rb"0-9A-Fa-f",
}  # fmt: skip


class GlobError(ValueError):
    """A pattern that is not understood; the text says why."""


def glob(pattern: bytes, ignore_case: bool = False) -> Matcher:
    """What fnmatch(3) without FNM_PATHNAME matches, on bytes: `*` (also over slashes), `?`, `[a-z]`, `[!a-z]`,
    `[[:alpha:]]`, and `\\` before a character that stands for itself.

    Time is at most proportional to the lengths of pattern and text multiplied. Raises GlobError.
    """
    if _EXTENDED.search(pattern):
        raise GlobError("extended patterns, as +(a|b), are not supported")
    if not ignore_case and not _WILD.search(pattern):
        return pattern.__eq__
    match = re.compile(_regex(pattern), re.DOTALL | (re.IGNORECASE if ignore_case else 0)).fullmatch
    return lambda text: match(text) is not None


def _regex(pattern: bytes) -> bytes:
    pieces: list[bytes] = [b""]
    at = 0
    while at < len(pattern):
        char = pattern[at : at + 1]
        at += 1
        if char == b"*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append(b"")
        elif char == b"?":
            pieces[-1] += b"."
        elif char == b"[" and (end := _bracket_end(pattern, at)) > 0:
            pieces[-1] += _bracket(pattern[at:end])
            at = end + 1
        elif char == b"\\" and at < len(pattern):
            pieces[-1] += re.escape(pattern[at : at + 1])
            at += 1
        else:
            pieces[-1] += re.escape(char)
    if len(pieces) == 1:
        return pieces[0]
    # Between two stars the first place that fits is as good as any later one. The atomic group says so: without it
    # every star would be tried at every place for every place of the star before.
    middle = b"".join(b"(?>.*?" + piece + b")" for piece in pieces[1:-1])
    return pieces[0] + middle + b".*" + pieces[-1]


def _bracket_end(pattern: bytes, at: int) -> int:
    """Where the bracket that opened before `at` closes; -1: it does not, so that `[` stands for itself."""
    if pattern[at : at + 1] in (b"!", b"^"):
        at += 1
    if pattern[at : at + 1] == b"]":
        at += 1
    while at < len(pattern):
        if pattern[at : at + 1] == b"]":
            return at
        if pattern[at : at + 2] == b"[:" and (end := pattern.find(b":]", at)) > 0:
            at = end + 2
        else:
            at += 2 if pattern[at : at + 1] == b"\\" else 1
    return -1


def _bracket(inside: bytes) -> bytes:
    out = b"["
    at = 0
    if inside[:1] in (b"!", b"^"):
        out += b"^"
        at = 1
    while at < len(inside):
        if inside[at : at + 2] == b"[:" and (end := inside.find(b":]", at)) > 0:
            name = inside[at + 2 : end]
            if name not in _CLASSES:
                raise GlobError(f"unknown character class [:{name.decode('utf-8', 'replace')}:]")
            out += _CLASSES[name]
            at = end + 2
            continue
        first, at = _member(inside, at)
        if inside[at : at + 1] == b"-" and at + 1 < len(inside):
            last, at = _member(inside, at + 1)
            if last < first:
                raise GlobError("a range runs backwards")
            out += b"\\x%02x-\\x%02x" % (first, last)
        else:
            out += b"\\x%02x" % first
    return out + b"]"


def _member(inside: bytes, at: int) -> tuple[int, int]:
    if inside[at] == 0x5C and at + 1 < len(inside):
        at += 1
    return inside[at], at + 1


def prefixes(paths: Iterable[bytes]) -> Matcher:
    """Whether a path is one of `paths` or below one; their components may be globs. Empty components do not count.

    As path_prefix_map in falcosecurity/libs prefix_search.h. Raises GlobError.
    """
    plain: dict[bytes, object] = {}
    wild: list[list[Matcher]] = []
    for path in paths:
        components = _components(path)
        if any(_WILD.search(component) for component in components):
            wild.append([glob(component) for component in components])
            continue
        node = plain
        for component in components:
            node = node.setdefault(component, {})  # type: ignore[assignment]
        node[b""] = True

    def match(path: bytes) -> bool:
        components = _components(path)
        node = plain
        if b"" in node:
            return True
        for component in components:
            node = node.get(component)  # type: ignore[assignment]
            if node is None:
                break
            if b"" in node:
                return True
        for matchers in wild:
            if len(matchers) <= len(components) and all(
                matches(component) for matches, component in zip(matchers, components, strict=False)
            ):
                return True
        return False

    return match


def _components(path: bytes) -> list[bytes]:
    return [component for component in path.split(b"/") if component]
