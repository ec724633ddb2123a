"""Definition files: as real ones are, and as hostile ones may be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.conditions.errors import FilterError, Source
from sftools.conditions.syntax import Check, Reference, Word
from sftools.errors import InputError
from sftools.limits import MAX_DEFINITIONS_BYTES
from sftools.schema.objtypes import BRANCHES
from sftools.sfql.definitions import Definitions, begins_entries

# Written as the processor's policies are: entries out of line, keys in any order, quotes in quotes, conditions over
# several lines, text with colons.
POLICY = r"""
###### Lists ####################

- list: shells
  items: [bash, sh, "zsh", '"(systemd)"', "["]

 - list: long_one
  items: [
    a-b, c.d,  # a comment
    /etc/e,
    ]

- required_engine_version: 2

- macro: sed_write
  condition: (sf.proc.exe contains 'sed' and sf.proc.args contains "-i: ")

- macro: interactive
  condition: >
    ((sf.proc.aname = sshd and
    sf.proc.tty = true))     # tty: true

# partially from https://example.org: a comment

- rule: Account Discovery: Local Account
  desc: >
    an attempt to
    list: users
  condition: sf.opflags = EXEC and
             interactive
  priority: High
  tags: [mitre:T1087.001, "two words"]
  prefilter: [PE, FF]

 - rule: "quoted"
  desc: 'http://example.org'
  tags: [x]
  enabled: false
  condition: sed_write

- rule: legacy
  desc: of the old form
  condition: type = FF
  action: [alert, tag]
  priority: none
  tags: [a]

- rule: falco's
  desc: x
  condition: type = NF
  output: "a: %b"
  priority: WARNING

- rule: bare
  condition: type = NF

- filter: files
  condition: sf.file.path contains /dev/log

- drop: off
  condition: type = NF
  enabled: no
"""


def read(text: str) -> Definitions:
    definitions = Definitions()
    definitions.read(text, "p.yaml")
    return definitions


def test_a_policy() -> None:
    found = read(POLICY)
    assert [word.text for word in found.lists["shells"].words] == ["bash", "sh", "zsh", "(systemd)", "["]
    assert [word.text for word in found.lists["long_one"].words] == ["a-b", "c.d", "/etc/e"]
    assert set(found.macros) == {"sed_write", "interactive"}
    assert [rule.name for rule in found.rules] == ["Account Discovery: Local Account", "legacy", "falco's", "bare"]
    first, legacy, falco, bare = found.rules
    assert first.description == "an attempt to list: users"
    assert first.priority == 3
    assert first.tags == ("mitre:T1087.001", "two words")
    assert first.branches == {BRANCHES["ProcessEvent"], BRANCHES["FileFlow"]}
    assert (legacy.priority, legacy.tags, legacy.branches) == (0, ("a",), None)
    assert (falco.priority, bare.priority) == (2, 1)
    assert legacy.tree == Check("type", None, "=", (Word("FF"),))
    assert [drop.name for drop in found.drops] == ["files"]


def test_later_definitions_replace_earlier_ones() -> None:
    found = read("- list: a\n  items: [b]\n- macro: m\n  condition: x\n")
    found.read("- list: a\n  items: []\n- macro: m\n  condition: y\n")
    assert found.lists["a"].words == ()
    assert found.macros["m"].tree == Reference("y")


def test_a_query_at_the_end() -> None:
    found = read("- macro: m\n  condition: x\n\n- sfql: >\n  m\n  and n\n")
    assert found.query is not None
    assert found.query.source.condition.split() == ["m", "and", "n"]


@pytest.mark.parametrize(
    ("text", "result"),
    [("- macro: a", True), ("# c\n\n -list: b", True), ("- sfql: a", False), ("type = FF", False), ("- foo: b", False)],
)
def test_begins_entries(text: str, result: bool) -> None:
    assert begins_entries(text) is result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- macro: a\n  condition: type =\n", "p.yaml:2: a value expected: condition: type ="),
        ("- macro: a\n  condition: x\n    and (y\n", "p.yaml:3: ')' expected: and (y"),
        ("- macro: a\n  condition:\n", "p.yaml:2: nothing to filter by"),
        ("- macro: a\n", "p.yaml:1: the macro a has no condition"),
        ("- macro:\n  condition: x\n", "p.yaml:1: a macro without a name"),
        ("- macro: a\n  conditon: x\n", "p.yaml:2: 'conditon' is no key of a macro (condition?)"),
        ("- macro: a\n  condition: x\n  condition: x\n", "p.yaml:3: condition again"),
        ("- marco: a\n  condition: x\n", "p.yaml:1: 'marco' is no kind of entry (macro?)"),
        ("lists:\n- list: a\n  items: []\n", "p.yaml:1: an entry expected, as `- macro: NAME`"),
        ("- list: a\n  items: b\n", "p.yaml:2: "),
        ("- list: a\n  items: [b\n- list: c\n  items: [d]", "p.yaml:2: "),
        ("- rule: a\n  condition: x\n  priority: urgent\n", "p.yaml:3: priority is one of none, low, medium, high"),
        ("- rule: a\n  condition: x\n  prefilter: [PE, XX]\n", "p.yaml:3: 'XX' is no record type"),
        ("- rule: a\n  condition: x\n  enabled: maybe\n", "p.yaml:3: enabled is true or false"),
        ("- macro: a\n  condition: x\n  append: true\n", "p.yaml:3: append is not supported"),
        ("- sfql:\n", "p.yaml:1: nothing to filter by"),
    ],
)
def test_errors_name_file_and_line(text: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        read(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_lists_expand() -> None:
    found = read("- list: a\n  items: [b, c, 'b']\n- list: b\n  items: [d, 1]\n")
    source = Source("x in (a, e)")
    assert [word.text for word in found.expand((Word("a"), Word("e")), source)] == ["d", "1", "c", "b", "e"]
    assert found.expand((Word("a", quoted=True),), source) == [Word("a")]


def test_lists_in_themselves_are_refused() -> None:
    found = read("- list: a\n  items: [b]\n- list: b\n  items: [x, a]\n")
    with pytest.raises(FilterError, match=r"p\.yaml:4: the list a is in itself"):
        found.expand((Word("a"),), Source("x in (a)"))


@pytest.mark.parametrize("first", ["", "x"])
def test_lists_of_lists_are_bounded(first: str) -> None:
    """Each holds the one before a hundred times: as many values, or none after as much work."""
    texts = [f"- list: l0\n  items: [{first}]\n"]
    for number in range(1, 9):
        texts.append(f"- list: l{number}\n  items: [{', '.join([f'l{number - 1}'] * 100)}]\n")
    with pytest.raises(FilterError, match="a list of more than 4096 values"):
        read("".join(texts)).expand((Word("l8"),), Source("x in (l8)"))


def test_a_long_chain_of_lists_is_refused() -> None:
    text = "".join(f"- list: l{number}\n  items: [l{number + 1}]\n" for number in range(5000))
    with pytest.raises(FilterError, match="too deep"):
        read(text).expand((Word("l0"),), Source("x in (l0)"))


def test_files(tmp_path: Path) -> None:
    definitions = Definitions()
    path = tmp_path / "defs.yaml"
    path.write_bytes(b"\xef\xbb\xbf- list: a\r\n  items: [b]\r\n")
    definitions.load(str(path))
    assert [word.text for word in definitions.lists["a"].words] == ["b"]
    path.write_bytes(b"- list: caf\xe9\n  items: [b]\n")
    with pytest.raises(InputError, match="at offset 11: no UTF-8 text"):
        definitions.load(str(path))
    path.write_bytes(b"#" * (MAX_DEFINITIONS_BYTES + 1))
    with pytest.raises(InputError, match="more than"):
        definitions.load(str(path))
    with pytest.raises(InputError, match="No such file"):
        definitions.load(str(tmp_path / "absent"))
    with pytest.raises(InputError, match="directory"):
        definitions.load(str(tmp_path))


def test_the_definitions_of_the_existing_package(shared: Path) -> None:
    definitions = Definitions()
    for name in ("defs.yaml", "legacy-policy.yaml"):
        definitions.load(str(shared / "sysprint" / "sfql" / name))
    assert set(definitions.macros) == {"FileFlow", "NetFlow", "opened", "written", "webproc", "is_shell"}
    assert [(rule.name, rule.priority, rule.tags) for rule in definitions.rules] == [
        ("shell spawned", 3, ("mitre:T1059", "shell")),
        ("etc read", 1, ("mitre:T1003",)),
        ("outbound", 2, ("mitre:T1071.001", "net")),
    ]


lines = st.sampled_from(
    ["- macro: a", "- list: a", "- rule: a b", "- drop: a", "- sfql: type = FF", "  condition: x", "  items: [a, b]",
     "  desc: d: e", "  priority: low", "  tags: [t]", "  and y", "# c", "", "  x: y", "  - z", "  prefilter: [PE]",
     "]"]
)  # fmt: skip


@given(st.lists(lines, max_size=12).map("\n".join) | st.text("-macroli st:[]'\"#>\n", max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        read(text)
    except FilterError as error:
        found = error
    else:
        return
    assert 1 <= found.column <= len(text) + 1
    assert found.line <= text.count("\n") + 1
    assert len(found.lines()) == 3
