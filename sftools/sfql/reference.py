"""What the tables know, for people: docs/sfql.md."""

from __future__ import annotations

from sftools.conditions.operators import Takes
from sftools.fields import ALIASES, FIELDS
from sftools.sfql.operators import BY_NAME, OPERATORS, REFUSED
from sftools.sfql.subjects import PROTOCOLS, SOCKET_CALLS, SYSTEM_CALLS, subject

_INTRODUCTION = r"""# The query language

`sysprint -f`, `SfqlInterpreter` and policies take conditions on the records of a trace.

    type = FF and proc.exe contains node
    opflags = EXEC and not proc.name in (sh, bash) and container.id exists
    net.ip in (10.0.0.0/8, 192.168.0.0/16) and not net.dport in (80, 443)
    type in (PE, FE) and ret < 0 and ts >= 2018-07-16T21:30:00
    proc.aname = sshd and file.openflags = [WRONLY, RDWR]
    evt.type in (execve, execveat) and proc.pname = nginx

`not` binds closest, then `and`, then `or`; parentheses group. They stop as soon as the result is clear. Words (`and`,
`or`, `not` and the operators) may be written in any case, and `#` begins a comment. `sf.` before a field and `- sfql:`
before the whole are allowed.

A value stands in quotes, single or double, or bare where it has no blank, quote, comma, `=` or parenthesis in it, and
no bracket, `<`, `>` or `#` at its beginning. In quotes, `\"`, `\'` and `\\` stand for the second character; every other
backslash for itself. An operator's name or another word of the language is a value, too: `file.name = list`.

What is wrong is refused before anything is read, with the place: an unknown field or macro, a text for a number, an
operator that the field's type has not, a record type, operation or flag that does not exist.

## What is compared

| the field's type | a value is written | `=` `!=` `in` | `<` `<=` `>` `>=` | `contains` `pmatch` and so on |
|---|---|---|---|---|
| text | as it is | the whole text, case counts | | yes |
| number | decimal or `0x1f`, may be negative | as numbers | as numbers | |
| time | nanoseconds since 1970, or `2018-07-16T21:32:16.37` (UTC) | as numbers | as numbers | |
| boolean | `true`, `True`, `false`, `False` | yes | | |
| address | an IP address or a network (`10.0.0.0/8`, `fd00::/8`) | equal, or in the network | | as printed |

- **Absent** (a file's port, the parent of a process that the trace does not tell of, what an old trace lacks): every
  operator is false, also `!=`, never an error; `not` of it is then true. So `net.dport != 80` asks for a port that is
  another one, and `not net.dport = 80` also takes records without ports.
- **The bare word `None`** stands for absent after `=`, `!=` and in lists: `container.id = None` are the processes of
  the host, `container.id != None` those in containers, the same as `not container.id exists` and `container.id exists`.
  For the fields of containers the bare word `host` means the same. In quotes both are texts.
- `exists` is true for 0 and `false`; an empty text does not exist.
- **Several values** (`opflags`, `file.openflags`, `proc.aname`, `proc.apid`, `net.ip`, `net.port`, `pod.hostip`, ...):
  one that fits is enough. `!=` is true if there are some and none is equal: `opflags != OPEN` is false for a record
  that opens and closes.
- **A field on the right**: a bare word with a dot that is a field's name stands for the field (`proc.exe != pproc.exe`,
  `file.path startswith proc.cwd`); one without a dot only between numbers (`ts < endts`). In quotes, and in lists, it
  is text.
- **Lists**: a bare word in a list that names a list of a definition file stands for what is in it. `in` and `pmatch`
  take lists in parentheses or brackets, `=` and `!=` in brackets.

## Operators

| operator | takes | for | true if the field's value is |
|---|---|---|---|
"""

_FIELDS = """
## Fields

All that `sysprint -l` lists. `opflags` has WRITE and SEND for what the trace calls WRITE_SEND, READ and RECV for
READ_RECV; the trace's names are understood, too. `file.openflags` may also be compared with its number, `net.proto`
with {protocols}, `container.type` with `docker` for CT_DOCKER and so on.
`proc.aname` has the path and the name of the process and of each ancestor; `proc.aname[1]` only those of the parent,
`[2]` of its parent, `[0]` of the process, and so with `proc.apid`. An IPv4 address may also be given as the number that
the trace has.

| field | type | |
|---|---|---|
"""

_FALCO = """
## Falco's names

| name | field |
|---|---|
"""

_CALLS = """
`evt.dir` is `<` for all records with operations. `evt.type` is what these may have been: its values are operations as
above, and these names; any other is refused, as no record comes from it:

| operation | names |
|---|---|
"""

_FILES = """
## Definition files

`sysprint -F FILE` and `SfqlInterpreter(paths=[...])` read lists and macros, and the latter rules. The processor's
policy files and those of the older form, with `action`, are read as they are.

    - list: shells
      items: [sh, bash, "busybox"]        # may name other lists

    - macro: is_shell
      condition: proc.name in (shells)    # may name other macros, also later ones

    - rule: shell in a container
      desc: a shell was started in a container
      condition: opflags = EXEC and is_shell and container.id exists
      priority: high                      # none, low, medium, high, or Falco's; low without
      tags: [mitre:T1059, shell]
      prefilter: [PE]                     # the record types it is for
      enabled: true

    - drop: agents
      condition: proc.exe startswith /opt/agent/

An entry begins with `- kind:`, each of its keys is on a line of its own, and a value goes on over the lines below;
after the colon may stand `>`. A list or macro that is defined again is replaced. A list or macro that is in itself is
refused. `- filter:` means the same as `- drop:`: a record that meets the condition meets no rule. `- sfql:` at the end
is a query.

`SfqlInterpreter.enrich(record)` gives the names, the tags and the highest priority (0 none, 1 low, 2 medium, 3 high) of
the rules that a record meets, `()` where it meets none. In rules a check that is wrong (a field that does not exist,
say) is false and leaves a line in `SfqlInterpreter.warnings`; the policies that the processor comes with have some. Bad
syntax is an error everywhere.

## Where this is not the existing sysprint

- `<=` is less or equal; there it was `>=`.
- Numbers are compared as numbers, texts as a whole: a comma in an argument or a path means nothing.
- Absent values are no errors, nor the text `None`; see above for `!=`, which there was true for them.
- `!=` with several values asks all of them, `exists` is true for 0 and `false`.
- `net.sip` and `net.dip` are addresses; `net.ip` and `net.port` work; negative numbers, single quotes, `true`, brackets
  in lists and operators in capitals, too.
- `file.is_open_write` and `file.is_open_read` tell how the file was opened; there they were always true.
- `proc.aname` and `proc.apid` go by all of the trace's processes so far, whatever was evaluated before.
- Every field that is printed can be asked for. An unknown field is an error, not a text; so is all that does not parse.
"""


def sfql_markdown() -> str:
    """docs/sfql.md."""
    lines = [_INTRODUCTION]
    for operator in OPERATORS:
        kinds = "all" if operator.types == BY_NAME["="].types else ", ".join(sorted(k.value for k in operator.types))
        takes = {Takes.NOTHING: "", Takes.VALUE: "value", Takes.LIST: "list"}[operator.takes]
        lines.append(f"| `{operator.name}` | {takes} | {kinds} | {operator.description} |\n")
    lines.append("\n`exists` may also stand before the field. " + _refused() + "\n")
    lines.append(_FIELDS.format(protocols=", ".join(f"`{name}`" for name in PROTOCOLS)))
    for field in FIELDS.values():
        lines.append(f"| `{field.name}` | {_kind(field.name)} | {field.description} |\n")
    lines.append(_FALCO)
    for alias, name in ALIASES.items():
        lines.append(f"| `{alias}` | `{name}` |\n" if alias != "evt.type" else "| `evt.type` | below |\n")
    lines.append(_CALLS)
    for operation, names in SYSTEM_CALLS.items():
        shown = ", ".join(f"`{name}`" for name in names)
        if operation in SOCKET_CALLS:
            shown += "; of networks also " + ", ".join(f"`{name}`" for name in SOCKET_CALLS[operation])
        lines.append(f"| {operation} | {shown} |\n")
    lines.append(_FILES)
    return "".join(lines)


def _kind(name: str) -> str:
    found = subject(name)
    assert found is not None
    return found.type.value if found.each is None else f"several: {found.type.value}"


def _refused() -> str:
    return f"Falco's {' and '.join(f'`{name}`' for name in REFUSED)} are refused with a reason."
