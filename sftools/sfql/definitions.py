"""Definition files: lists, macros and the rules of policies, as the processor's policy files have them.

They look like YAML and often are not: real ones have conditions with `: ` in them and entries that are not in line. So
entries and keys are found by lines, and conditions are left where they stand, for errors to name the place.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sftools.conditions.errors import FilterError, Source
from sftools.conditions.syntax import Expression, Word
from sftools.errors import InputError
from sftools.limits import MAX_DEFINITIONS_BYTES, MAX_FILTER_DEPTH, MAX_FILTER_LIST
from sftools.schema.objtypes import BRANCHES, LETTERS
from sftools.sfql.parser import parse, parse_items

PRIORITIES = {
    "none": 0, "low": 1, "medium": 2, "high": 3,
    "debug": 1, "info": 1, "informational": 1, "notice": 1, "warning": 2,
    "error": 3, "critical": 3, "alert": 3, "emergency": 3,
}  # fmt: skip
"""Numbers of a rule's priorities: the language's own, and Falco's as the processor takes them."""
_DEFAULT_PRIORITY = 1  # also the processor's

_ENTRIES: dict[str, tuple[str, ...]] = {
    "macro": ("condition", "append"),
    "list": ("items", "append"),
    "rule": ("desc", "condition", "action", "actions", "output", "priority", "tags", "prefilter", "enabled",
             "warn_evttypes", "skip-if-unknown-filter", "append"),
    "filter": ("condition", "enabled"),
    "drop": ("condition", "enabled"),
    "sfql": (),
    "required_engine_version": (),
}  # fmt: skip
"""The kinds of entries, and the keys that each may have."""
_NEEDS = {"macro": "condition", "list": "items", "rule": "condition", "filter": "condition", "drop": "condition"}

_ENTRY = re.compile(r"(?P<indent>[ \t]*)-[ \t]*(?P<name>[A-Za-z_-]+)[ \t]*:")
_KEY = re.compile(r"(?P<indent>[ \t]*)(?P<name>[A-Za-z_-]+)[ \t]*:(?=[ \t>\[]|$)")
_FOLDED = re.compile(r"[ \t]*[>|][+-]?(?=\s|$)")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*", re.MULTILINE)
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Macro:
    """A condition with a name."""

    tree: Expression
    source: Source


@dataclass(frozen=True, slots=True)
class Items:
    """The values of a list."""

    words: tuple[Word, ...]
    source: Source


@dataclass(frozen=True, slots=True)
class Rule:
    """Also a `filter` or `drop`. branches: the record types it is for; None: all. priority: 0 none to 3 high."""

    name: str
    description: str
    tree: Expression
    source: Source
    priority: int = _DEFAULT_PRIORITY
    tags: tuple[str, ...] = ()
    branches: frozenset[int] | None = None


@dataclass(slots=True)
class Definitions:
    """What definition files define; later definitions of a list or macro replace earlier ones of that name.

    drops: the conditions of `filter` and `drop` entries: a record that meets one gets no rule. Entries that are not
    enabled are left out. query: the expression after `- sfql:`, where a file ends so.
    """

    macros: dict[str, Macro] = field(default_factory=dict)
    lists: dict[str, Items] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    drops: list[Rule] = field(default_factory=list)
    query: Macro | None = None

    @classmethod
    def of(cls, paths: Sequence[str]) -> Definitions:
        """What files define. Raises as load() does, and TypeError for a single path."""
        if isinstance(paths, str | bytes):
            raise TypeError(f"definitions is a sequence of names of files, not {paths!r}")
        definitions = cls()
        for path in paths:
            definitions.load(path)
        return definitions

    def copy(self) -> Definitions:
        """Definitions that may be added to without these being changed."""
        return Definitions(dict(self.macros), dict(self.lists), list(self.rules), list(self.drops), self.query)

    def load(self, path: str) -> None:
        """Read a file.

        Raises InputError where it cannot be read, FilterError, with file and line, where it is wrong.
        """
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_DEFINITIONS_BYTES + 1)
        except OSError as error:
            raise InputError(path, error.strerror or str(error)) from None
        if len(data) > MAX_DEFINITIONS_BYTES:
            raise InputError(path, f"more than {MAX_DEFINITIONS_BYTES} bytes of definitions")
        try:
            self.read(data.decode("utf-8-sig"), path)
        except UnicodeDecodeError as error:
            raise InputError(path, "no UTF-8 text", error.start) from None

    def read(self, text: str, file: str = "definitions") -> None:
        """Take the definitions in a text; `file` names it in errors. Raises FilterError."""
        for entry in _entries(Source(text, file)):
            entry.check()
            _READERS[entry.kind](self, entry)

    def _macro(self, entry: _Entry) -> None:
        source = entry.values["condition"]
        self.macros[entry.name] = Macro(parse(source), source)

    def _list(self, entry: _Entry) -> None:
        source = entry.values["items"]
        self.lists[entry.name] = Items(tuple(map(_plain, parse_items(source))), source)

    def _rule(self, entry: _Entry) -> None:
        source = entry.values["condition"]
        rule = Rule(
            entry.name, entry.text("desc"), parse(source), source, entry.priority(),
            tuple(word.text for word in entry.items("tags")), entry.branches(),
        )  # fmt: skip
        if entry.enabled():
            self.rules.append(rule)

    def _drop(self, entry: _Entry) -> None:
        source = entry.values["condition"]
        rule = Rule(entry.name, "", parse(source), source)
        if entry.enabled():
            self.drops.append(rule)

    def _query(self, entry: _Entry) -> None:
        self.query = Macro(parse(entry.head), entry.head)

    def _ignored(self, entry: _Entry) -> None:
        """required_engine_version is Falco's."""

    def expand(self, words: Iterable[Word], source: Source) -> list[Word]:
        """Words of a condition with the bare names of lists replaced by what they hold, lists of lists too.

        The places of words from lists are those of the condition's words. Raises FilterError.
        """
        out: list[Word] = []
        left = MAX_FILTER_LIST

        def take(word: Word, at: int, above: tuple[str, ...]) -> None:
            nonlocal left
            left -= 1
            if left < 0 or len(above) > MAX_FILTER_DEPTH:
                raise source.error(f"a list of more than {MAX_FILTER_LIST} values, or too deep", at)
            items = None if word.quoted else self.lists.get(word.text)
            if items is None:
                out.append(Word(word.text, at, word.quoted))
                return
            for inner in items.words:
                if inner.text in (*above, word.text) and not inner.quoted:
                    raise items.source.error(f"the list {inner.text} is in itself", inner.at)
                take(inner, at, (*above, word.text))

        for word in words:
            take(word, word.at, ())
        return out


def _plain(word: Word) -> Word:
    """Falco's files have quotes in quotes where they want a quoted text."""
    text = word.text
    inner = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return Word(text[1:-1], word.at, quoted=True) if inner and word.quoted else word


@dataclass(slots=True)
class _Entry:
    kind: str
    head: Source
    indent: int = -1
    values: dict[str, Source] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return _text(self.head)

    def check(self) -> None:
        """Raises FilterError where it has no name, lacks a key, or would change another entry."""
        if not self.name:
            raise self.head.error(f"a {self.kind} without a name" if self.kind != "sfql" else "nothing to filter by", 0)
        need = _NEEDS.get(self.kind)
        if need and need not in self.values:
            raise self.head.error(f"the {self.kind} {self.name} has no {need}", 0)
        if self.flag("append", False):
            raise self.values["append"].error("append is not supported: define it once, as a whole", 0)

    def text(self, key: str) -> str:
        return _text(self.values[key]) if key in self.values else ""

    def flag(self, key: str, default: bool) -> bool:
        if key not in self.values:
            return default
        value = _BOOLS.get(self.text(key).lower())
        if value is None:
            raise self.values[key].error(f"{key} is true or false", 0)
        return value

    def enabled(self) -> bool:
        return self.flag("enabled", True)

    def items(self, key: str) -> tuple[Word, ...]:
        return parse_items(self.values[key]) if key in self.values else ()

    def priority(self) -> int:
        if "priority" not in self.values:
            return _DEFAULT_PRIORITY
        number = PRIORITIES.get(self.text("priority").lower())
        if number is None:
            raise self.values["priority"].error(f"priority is one of {', '.join(PRIORITIES)}", 0)
        return number

    def branches(self) -> frozenset[int] | None:
        words = self.items("prefilter")
        by_letter = {letter: BRANCHES[name] for name, letter in LETTERS.items()}
        for word in words:
            if word.text not in by_letter:
                raise self.values["prefilter"].error(f"{word.text!r} is no record type", word.at)
        return frozenset(by_letter[word.text] for word in words) if words else None


def begins_entries(text: str) -> bool:
    """Whether a text is one of definitions, and not only an expression, also after `- sfql:`."""
    for line in text.splitlines():
        if _COMMENT.sub("", line).strip():
            found = _ENTRY.match(line)
            return found is not None and found["name"] in _ENTRIES and found["name"] != "sfql"
    return False


def _text(source: Source) -> str:
    """Free text: without comments and quotes around it, on one line."""
    text = " ".join(_COMMENT.sub("", source.condition).split())
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _entries(source: Source) -> Iterator[_Entry]:
    """The entries of a text, their values cut out. Raises FilterError."""
    text, file = source.text, source.file
    entry: _Entry | None = None
    key = ""  # of the value that the line may go on with; "" is the entry's head
    begin = at = 0

    def done(end: int) -> None:
        if entry is None:
            return
        while end > begin and text[end - 1].isspace():
            end -= 1
        folded = _FOLDED.match(text, begin, end)
        start = folded.end() if folded else begin
        while start < end and text[start].isspace():
            start += 1
        value = Source(text, file, start, end)
        if key:
            entry.values[key] = value
        else:
            entry.head = value

    for line in text.splitlines(keepends=True):
        if found := _ENTRY.match(line):
            kind = found["name"]
            if kind in _ENTRIES:
                done(at)
                if entry is not None:
                    yield entry
                entry, key, begin = _Entry(kind, source), "", at + found.end()
            elif entry is None or len(found["indent"]) <= entry.indent:
                raise _unknown(source, kind, at + found.start("name"), _ENTRIES, "kind of entry")
        elif (found := _KEY.match(line)) and entry is not None and entry.kind != "sfql":
            name = found["name"]
            if name in _ENTRIES[entry.kind]:
                done(at)
                if name in entry.values:
                    raise source.error(f"{name} again", at + found.start("name"))
                key, begin = name, at + found.end()
                entry.values[name] = source
                entry.indent = entry.indent if entry.indent >= 0 else len(found["indent"])
            elif key not in ("desc", "output") or len(found["indent"]) <= entry.indent:
                raise _unknown(source, name, at + found.start("name"), _ENTRIES[entry.kind], f"key of a {entry.kind}")
        elif entry is None and _COMMENT.sub("", line).strip():
            indent = len(line) - len(line.lstrip())
            raise source.error("an entry expected, as `- macro: NAME`", at + indent)
        at += len(line)
    done(len(text))
    if entry is not None:
        yield entry


def _unknown(source: Source, name: str, at: int, names: Iterable[str], what: str) -> FilterError:
    near = difflib.get_close_matches(name, list(names), 1)
    return source.error(f"{name!r} is no {what}" + (f" ({near[0]}?)" if near else ""), at)


_READERS = {
    "macro": Definitions._macro, "list": Definitions._list, "rule": Definitions._rule, "filter": Definitions._drop,
    "drop": Definitions._drop, "sfql": Definitions._query, "required_engine_version": Definitions._ignored,
}  # fmt: skip
