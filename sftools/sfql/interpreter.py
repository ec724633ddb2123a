"""SfqlInterpreter: queries and policies for the records of FlattenedSFReader. Its names are the existing package's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from sftools.avro.slots import NUMBERS, SLOTS
from sftools.conditions.logic import Predicate
from sftools.fields import FIELDS, Field
from sftools.reader.rows_cy import Row
from sftools.schema.objtypes import BRANCHES
from sftools.sfql.compiler import Compiler, compile_query
from sftools.sfql.definitions import Definitions, Rule, begins_entries

_PATHS = tuple(tuple(name.split(".")) for name in NUMBERS)
_SPANS = {slot: name for name, slot in SLOTS.items() if slot >= len(NUMBERS)}
_NAMES = {number: name for name, number in BRANCHES.items()}


class TupleRow:
    """A 9-tuple (objtype, header, pod, container, parent, process, files, event, flow) with the attributes of a Row.

    For tuples that FlattenedSFReader has not made. What they hold are objects of sftools.schema.sysflow, or such with
    their attributes; an attribute that is missing is absent. It knows of no ancestors but the parent.
    """

    def __init__(self, record: Sequence[Any]) -> None:
        objtype, self.header, self.pod, self.container, self.parent, self.process, files, event, flow = record
        self.branch = int(getattr(objtype, "value", objtype))
        self.file: Any
        self.new_file: Any
        self.file, self.new_file = files or (None, None)
        entities = {
            "SFHeader": self.header, "Pod": self.pod, "Container": self.container, "Process": self.process,
            "File": self.file,
        }  # fmt: skip
        self.record = entities.get(_NAMES.get(self.branch, ""), event if flow is None else flow)
        self.index = -1
        self.lacks = _Lacks(self)

    def number(self, slot: int) -> Any:
        """A number of the record itself, by its slot; None where it has none."""
        value = self.record
        for name in _PATHS[slot]:
            value = getattr(value, name, None)
        return value

    def span(self, slot: int) -> Any:
        """A string or fixed value of the record itself, by its slot; None where it has none."""
        return getattr(self.record, _SPANS[slot], None)

    def ancestors(self) -> list[Any]:
        """The process and its parent, as far as there are any."""
        return [process for process in (self.process, self.parent) if process is not None]


class _Lacks:
    """Which "Record.attribute" the entities of a TupleRow have not."""

    def __init__(self, row: TupleRow) -> None:
        self.row = row

    def __contains__(self, name: str) -> bool:
        record, _, attribute = name.partition(".")
        row = self.row
        of = {
            "SFHeader": (row.header,), "Pod": (row.pod,), "Container": (row.container,),
            "Process": (row.process, row.parent), "File": (row.file, row.new_file),
        }  # fmt: skip
        return any(entity is not None and not hasattr(entity, attribute) for entity in of.get(record, ()))


def row_of(record: Any) -> Any:
    """What predicates are called with, for a Row, a record of FlattenedSFReader, or a 9-tuple as it makes them."""
    if isinstance(record, Row | TupleRow):
        return record
    row = getattr(record, "row", None)
    return TupleRow(record) if row is None else row


class SfqlInterpreter:
    """Evaluates queries, and the rules of policies, for records.

    query: an expression, also after `- sfql:` and definitions. paths: definition files. inputs: definitions as text or
    open text files. Everything belongs to this instance alone.

    warnings: lines about checks in rules that are wrong and therefore count as false.
    Raises FilterError for what is wrong elsewhere, InputError for a file that cannot be read.
    """

    def __init__(self, query: str | None = None, paths: Sequence[str] = (), inputs: Iterable[Any] = ()) -> None:
        self.definitions = Definitions()
        self.warnings: list[str] = []
        self._wanted: Predicate | None = None
        self._given: tuple[str | None, tuple[str, ...]] = (None, ())
        self._drops: list[Predicate] = []
        # By record type, the rules for it.
        self._rules: dict[int, list[tuple[Rule, Predicate]]] = {}
        self.compile(query, paths, inputs)

    def compile(self, query: str | None = None, paths: Sequence[str] = (), inputs: Iterable[Any] = ()) -> None:
        """Read more definitions, and take another query, where one is given."""
        before = len(self.definitions.rules) + len(self.definitions.drops)
        for path in paths:
            self.definitions.load(str(path))
        for given in inputs:
            self.definitions.read(_text(given))
        if query and begins_entries(query):
            self.definitions.read(query, "query")
        elif query:
            self._wanted = compile_query(query, self.definitions)
        found = self.definitions.query
        if found is not None:
            self._wanted = Compiler(self.definitions).predicate(found.tree, found.source)
            self.definitions.query = None
        if before != len(self.definitions.rules) + len(self.definitions.drops):
            self._compile_rules()

    def _compile_rules(self) -> None:
        self.warnings = []
        compiler = Compiler(self.definitions, self.warnings)
        self._drops = [compiler.predicate(drop.tree, drop.source) for drop in self.definitions.drops]
        compiled = [(rule, compiler.predicate(rule.tree, rule.source)) for rule in self.definitions.rules]
        self._rules = {
            branch: [pair for pair in compiled if pair[0].branches is None or branch in pair[0].branches]
            for branch in BRANCHES.values()
        }

    def evaluate(self, record: Any, query: str | None = None, paths: Sequence[str] = ()) -> bool:
        """Whether a record meets the query: the one given here, which stays, or the last; true without any."""
        if query and (query, tuple(paths)) != self._given:
            self.compile(query, paths)
            self._given = query, tuple(paths)
        return self._wanted is None or self._wanted(row_of(record))

    def filter(self, reader: Iterable[Any], query: str | None = None, paths: Sequence[str] = ()) -> Iterator[Any]:
        """The records that meet the query: the one given here, which stays, or the last; all without any."""
        if query or paths:
            self.compile(query, paths)
        wanted = self._wanted
        for record in reader:
            if wanted is None or wanted(row_of(record)):
                yield record

    def enrich(self, record: Any) -> tuple[()] | tuple[list[str], list[str], int]:
        """Names, tags and the highest priority (0 none to 3 high) of the rules that a record meets; () without any.

        Each tag once, in the order of the rules, as a list: it goes into JSON. Records that a `filter` or `drop` entry
        of the policies accepts meet no rule.
        """
        row = row_of(record)
        met = [rule for rule, condition in self._rules.get(row.branch, ()) if condition(row)]
        if not met or any(drop(row) for drop in self._drops):
            return ()
        tags = list(dict.fromkeys(tag for rule in met for tag in rule.tags))
        return [rule.name for rule in met], tags, max(rule.priority for rule in met)

    def getAttributes(self) -> dict[str, Callable[[Any], Any]]:
        """What gives the value of a field for a record, None where it has none, by the field's name."""
        return {name: partial(_value, field) for name, field in FIELDS.items()}


def _value(field: Field, record: Any) -> Any:
    return field.get(row_of(record))


def _text(given: Any) -> str:
    """The text of an input: itself, or what it reads, or shows itself as."""
    if isinstance(given, str):
        return given
    return str(given.read()) if hasattr(given, "read") else str(given)
