"""Source texts: reading them within bounds, parsing them to a tree or to JSON, and errors with positions."""

from __future__ import annotations

import bisect
import functools
import os
import re
import stat
from dataclasses import dataclass, field
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from sftools import limits
from sftools.errors import InputError
from sftools.schema.codegen.model import IdlError, Position

Node = Tree[Token]

# Strings and comments without an end go on to the end, so that no text is searched more than once.
_SCAN = re.compile(
    r"""(?P<string>"(?:[^"\\\n\r]|\\.)*"?)
      | (?P<comment>//[^\n\r]* | /\*\*/ | /\*(?!\*)[\s\S]*?(?:\*/|\Z))
      | (?P<doc>/\*\*[\s\S]*?(?:\*/|\Z))
      | (?P<open>[<({\[])
      | (?P<close>[>)}\]])
      | (?P<other>[^\s"/<({\[>)}\]]+ | /)""",
    re.VERBOSE,
)
_STARRED = re.compile(r"\*(?!\*)")
_ESCAPE = re.compile(r"\\(?:u+([0-9a-fA-F]{4})|([0-3]?[0-7]{1,2})|(.))")
_ESCAPED = {"n": "\n", "t": "\t", "b": "\b", "r": "\r", "f": "\f", "\\": "\\", "'": "'", '"': '"', "/": "/"}
_SHOWN = {
    "NAME": "a name",
    "STRING": "a string",
    "INTEGER": "an integer",
    "FLOAT": "a number",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "LESSTHAN": "'<'",
    "MORETHAN": "'>'",
    "SEMICOLON": "';'",
    "COLON": "':'",
    "COMMA": "','",
    "EQUAL": "'='",
    "AT": "'@'",
    "QUESTION": "'?'",
    "DOT": "'.'",
    "DASH": "'-'",
    "$END": "the end of the file",
}


@dataclass(slots=True)
class Json:
    """A JSON value that knows its place. `value` is a scalar, a list of Json or a dict of Json."""

    value: Any
    at: Position

    def plain(self) -> Any:
        """The value as json.loads would give it."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def text(self, what: str) -> str:
        """The value, which must be a string. Raises IdlError, calling it `what`."""
        if not isinstance(self.value, str):
            raise IdlError(self.at, f"{what} must be a string")
        return self.value

    def texts(self, what: str) -> list[str]:
        """The value, which must be an array of strings. Raises IdlError, calling it `what`."""
        if not isinstance(self.value, list):
            raise IdlError(self.at, f"{what} must be an array of strings")
        return [item.text(what) for item in self.value]


@dataclass(slots=True)
class Source:
    """One text. `docs` maps the offset of a token to the doc comment before it; `lines` holds where the lines begin."""

    file: str
    text: str
    docs: dict[int, str] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)

    def at(self, place: Token | Node | int) -> Position:
        """The position of a token, of a tree's first token or of an offset."""
        if isinstance(place, Token):
            place = place.start_pos or 0
        elif isinstance(place, Tree):
            place = int(place.meta.start_pos)
        if not self.lines:
            self.lines = [0, *(match.end() for match in re.finditer("\n", self.text))]
        line = bisect.bisect_right(self.lines, place)
        return Position(self.file, line, place - self.lines[line - 1] + 1)

    def parse(self, start: str) -> Node:
        """The tree of the text; `start` is a rule of idl.lark. Raises IdlError."""
        self._scan()
        try:
            return _grammar().parse(self.text, start=start)
        except UnexpectedInput as error:
            raise self._syntax_error(error) from None

    def json(self) -> Json:
        """The text as JSON. Raises IdlError."""
        return self.json_of(self.parse("json"))

    def json_of(self, tree: Node) -> Json:
        """The JSON value of a `json` tree. Raises IdlError for bad escapes and for a key that stands twice."""
        at = self.at(tree)
        child = tree.children[0]
        if isinstance(child, Token):
            return Json(self._scalar(child), at)
        if child.data == "array_value":
            return Json([self.json_of(item) for item in child.children if isinstance(item, Tree)], at)
        pairs: dict[str, Json] = {}
        for pair in child.children:
            assert isinstance(pair, Tree)
            key_token, value = pair.children
            assert isinstance(key_token, Token)
            assert isinstance(value, Tree)
            key = self.string(key_token)
            if key in pairs:
                raise IdlError(self.at(key_token), f"the key {key!r} stands twice")
            pairs[key] = self.json_of(value)
        return Json(pairs, at)

    def string(self, token: Token) -> str:
        """The value of a STRING token. Raises IdlError."""

        def replace(match: re.Match[str]) -> str:
            code, octal, char = match.groups()
            if code:
                return chr(int(code, 16))
            if octal:
                return chr(int(octal, 8))
            if char not in _ESCAPED:
                raise IdlError(self.at(int(token.start_pos or 0) + 1 + match.start()), f"unknown escape \\{char}")
            return _ESCAPED[char]

        value = _ESCAPE.sub(replace, token[1:-1])
        try:
            return value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise IdlError(self.at(token), "half of a surrogate pair in a string") from None

    def integer(self, token: Token) -> int:
        """The value of an INTEGER token: decimal, hexadecimal after 0x, octal after 0. Raises IdlError past 64 bits."""
        digits = token.rstrip("lL").lstrip("-")
        if len(digits) > 32:
            raise IdlError(self.at(token), "an integer of more than 64 bits")
        if digits[:2] in ("0x", "0X"):
            value = int(digits, 16)
        else:
            value = int(digits, 8 if digits[0] == "0" else 10)
        if token[0] == "-":
            value = -value
        if not -(1 << 63) <= value < 1 << 63:
            raise IdlError(self.at(token), "an integer of more than 64 bits")
        return value

    def _scalar(self, token: Token) -> Any:
        match token.type:
            case "STRING":
                return self.string(token)
            case "INTEGER":
                return self.integer(token)
            case "FLOAT":
                return self._float(token)
            case other:
                return {"TRUE": True, "FALSE": False, "NULL": None}[other]

    def _float(self, token: Token) -> float:
        hexadecimal = "x" in token or "X" in token
        digits = token if hexadecimal and not re.search(r"[pP][+-]?\d+[fFdD]$", token) else token.rstrip("fFdD")
        try:
            value = float.fromhex(digits) if hexadecimal else float(digits.replace("Infinity", "inf"))
        except OverflowError:
            value = float("inf")
        if value != value or value in (float("inf"), float("-inf")):
            raise IdlError(self.at(token), f"{token} has no form in JSON")
        return value

    def _scan(self) -> None:
        """Bounds the nesting before anything recurses, and finds the doc comment before each token."""
        depth = 0
        doc: str | None = None
        for match in _SCAN.finditer(self.text):
            kind = match.lastgroup
            if kind == "comment":
                continue
            if kind == "doc":
                doc = _clean_doc(match.group())
                continue
            if doc is not None:
                self.docs[match.start()] = doc
                doc = None
            if kind == "open":
                depth += 1
                if depth > limits.MAX_SCHEMA_DEPTH:
                    raise IdlError(self.at(match.start()), f"nested deeper than {limits.MAX_SCHEMA_DEPTH}")
            elif kind == "close":
                depth = max(0, depth - 1)

    def _syntax_error(self, error: UnexpectedInput) -> IdlError:
        if isinstance(error, UnexpectedCharacters):
            place = error.pos_in_stream or 0
            rest = self.text[place : place + 2]
            cause = f"unexpected character {rest[:1]!r}"
            if rest[:1] == '"':
                cause = "a string without its end"
            elif rest == "/*":
                cause = "a comment without its end"
            return IdlError(self.at(place), cause)
        assert isinstance(error, UnexpectedToken)
        expected = sorted({_SHOWN.get(name, f"'{name.lower()}'") for name in error.accepts or error.expected})
        if {"'int'", "'string'"} <= set(expected):
            expected = ["a type", *(e for e in expected if e in ("'}'", "')'", "'@'"))]
        wanted = ", ".join(expected[:6]) + (", ..." if len(expected) > 6 else "")
        ended = error.token.type == "$END"
        at = self.at(len(self.text) if ended else error.token)
        found = "the end of the file" if ended else repr(str(error.token)[:40])
        return IdlError(at, f"unexpected {found}, expected {wanted}")


class Reader:
    """Reads files within limits.MAX_IDL_BYTES and MAX_IDL_FILES, both over all files."""

    def __init__(self) -> None:
        self.bytes_left = limits.MAX_IDL_BYTES
        self.files_left = limits.MAX_IDL_FILES

    def read(self, path: str, importer: Position | None = None) -> Source:
        """The text of a file. Raises InputError, or IdlError at the import statement `importer`."""

        def fail(cause: str) -> Exception:
            return IdlError(importer, f"cannot import {path!r}: {cause}") if importer else InputError(path, cause)

        self.files_left -= 1
        if self.files_left < 0:
            raise fail(f"more than {limits.MAX_IDL_FILES} files")
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise fail("not a regular file")
            with open(path, "rb") as file:
                data = file.read(self.bytes_left + 1)
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else str(error)
            raise fail(cause or "cannot be read") from None
        self.bytes_left -= len(data)
        if self.bytes_left < 0:
            raise fail(f"the files have more than {limits.MAX_IDL_BYTES} bytes")
        try:
            return Source(path, data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            source = Source(path, data[: error.start].decode("utf-8", "replace"))
            raise IdlError(source.at(len(source.text)), "not UTF-8") from None


@functools.cache
def _grammar() -> Lark:
    with open(os.path.join(os.path.dirname(__file__), "idl.lark"), encoding="utf-8") as file:
        text = file.read()
    return Lark(
        text,
        parser="lalr",
        lexer="contextual",
        start=["protocol", "json"],
        propagate_positions=True,
        maybe_placeholders=False,
    )


def _clean_doc(comment: str) -> str:
    """The text of a doc comment, without the stars and the indentation that its lines share."""
    lines = comment.removeprefix("/**").removesuffix("*/").expandtabs().splitlines() or [""]
    first, rest = lines[0].strip(), [line.rstrip() for line in lines[1:]]
    if all(_STARRED.match(line.lstrip()) for line in rest if line.strip()):
        rest = [line.lstrip().removeprefix("*") for line in rest]
    indents = [len(line) - len(line.lstrip()) for line in rest if line.strip()]
    cut = min(indents, default=0)
    return "\n".join([first, *(line[cut:].rstrip() for line in rest)]).strip("\n").rstrip()
