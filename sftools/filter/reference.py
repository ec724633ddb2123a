"""What the tables know, for people: `--list-fields` and docs/filter.md."""

from __future__ import annotations

from sftools.conditions.operators import Takes
from sftools.filter.fields import FIELDS, Argument, Field
from sftools.filter.operators import OPERATORS

_INTRODUCTION = r"""# Filters

`-f` takes a condition in the language of [Falco's rules](https://falco.org/docs/rules/conditions/). Records are made of
the events for which it is true. The other events still change what is known of threads, files and sockets, so a filter
never breaks the paths and parents of what is left.

    proc.name = nginx and fd.type in (ipv4, ipv6)
    evt.type in (open, openat, openat2) and evt.is_open_write = true and not fd.name startswith /proc/
    fd.snet in (10.0.0.0/8, 192.168.0.0/16) or container.id != host
    proc.aname = sshd and proc.cmdline contains "curl -s"

`and` binds closer than `or`, `not` closer than `and`; parentheses group. The three words may be written in capitals.

A value stands in quotes, single or double, or bare where it has no blank, quote, comma, `=` or parenthesis in it. In
quotes, `\\`, `\"`, `\'`, `\/`, `\n`, `\r`, `\t`, `\b` and `\f` are escapes. Numbers are decimal or hexadecimal (`0x1f`)
and may be negative. Texts are compared byte by byte.

**A field that is absent** (the address of a file, the parent of a process that nothing tells of) makes every operator
false, also `!=`; `not` of it is then true. So `fd.sip != 10.0.0.1` asks for a server address that is another one, and
`not fd.sip = 10.0.0.1` also takes what has no server address. `exists` tells the two apart.

A field with **several values** is true if one of them fits. `fd.ip`, `fd.net` and `fd.port` with `!=` ask that both
ends differ; the ancestors' fields with `!=` ask for one ancestor that differs, as in Falco.

Networks (`10.0.0.0/8`, `fd00::/8`) may stand wherever an address may. IPv4 addresses in IPv6 form are IPv4.

A filter that is wrong is refused before anything is read, with the place.

## Operators

| operator | takes | for | true if the field's value is |
|---|---|---|---|
"""

_DIFFERENCES = """
## Where this is not Falco

- `regex`, the transformers (`tolower()`, `toupper()`, `b64()`, `basename()`, `val()`), and macros and lists of rule
  files are refused with a reason. `+(a|b)` and its like in globs are refused, too.
- `fd.lip`, `fd.rip`, `fd.lport`, `fd.rport`, `fd.lnet`, `fd.rnet` and `fd.is_server` go by the role that the process
  had when the connection was made. Falco compares with the machine's addresses, so that both processes of a connection
  within the machine have the client's side as their own.
- `fd.dip` and `fd.dport` are another name for `fd.sip` and `fd.sport`: a connection goes to its server.
- `fd.proto` and its kin do not exist: names of ports would be the converting machine's.
- `evt.time`, `evt.datetime` and `evt.time.iso8601` are in UTC.
- `<` and its kin also compare texts. `bcontains` and `bstartswith` work on all texts.
- Any name may be compared with `evt.type`. System calls that are recorded without an event of their own (`getpid`) make
  no records, so nothing is found by them.
- `mmap` is seen where it begins (`evt.dir = >`) if that was recorded: its record is made there.
"""


def _shown(field: Field) -> str:
    if field.argument is Argument.NONE:
        return field.name
    argument = "n" if field.argument is Argument.LEVEL else "NAME"
    required = field.get is None and field.each is None
    return f"{field.name}[{argument}]" + ("" if required else f", {field.name}")


def list_fields() -> str:
    """A line for each field: name, type, description."""
    rows = [(_shown(field), field.type.value, field.description) for field in FIELDS]
    wide = max(len(row[0]) for row in rows)
    return "".join(f"{name:<{wide}}  {kind:<7}  {description}\n" for name, kind, description in rows)


def filter_markdown() -> str:
    """docs/filter.md."""
    lines = [_INTRODUCTION]
    for operator in OPERATORS:
        kinds = "all" if len(operator.types) == 4 else ", ".join(sorted(kind.value for kind in operator.types))
        takes = {Takes.NOTHING: "", Takes.VALUE: "value", Takes.LIST: "list"}[operator.takes]
        lines.append(f"| `{operator.name}` | {takes} | {kinds} | {operator.description} |\n")
    lines.append("\n## Fields\n\n| field | type | |\n|---|---|---|\n")
    for field in FIELDS:
        names = ", ".join(f"`{name}`" for name in _shown(field).split(", "))
        lines.append(f"| {names} | {field.type.value} | {field.description} |\n")
    lines.append(_DIFFERENCES)
    return "".join(lines)
