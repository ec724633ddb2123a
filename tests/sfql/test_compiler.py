"""Syntax tree to predicate: what queries are true for."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftools.conditions.errors import FilterError
from sftools.conditions.operators import Takes
from sftools.errors import EXIT_USAGE
from sftools.fields import ALIASES, FIELDS
from sftools.limits import MAX_EXPANDED_CHECKS
from sftools.sfql import Definitions, Predicate, compile_query
from sftools.sfql.interpreter import TupleRow
from sftools.sfql.operators import OPERATORS
from sftools.sfql.subjects import SYSTEM_CALLS


def true(query: str, record: Any, definitions: Definitions | None = None) -> bool:
    return compile_query(query, definitions)(TupleRow(record))


def result(query: str) -> Predicate | FilterError:
    """The predicate, or the error."""
    try:
        return compile_query(query)
    except FilterError as error:
        return error


def column_of(error: FilterError) -> str:
    """What stands at the place."""
    return error.text[error.column - 1 :]


@pytest.mark.parametrize(
    "query",
    [
        "type = FF", "sf.type = FF", "- sfql: type = FF", "type in (PE, FF)", "type != NF", "type = [FF, NF]",
        # text: as a whole, case counts
        "proc.exe = /usr/bin/node", "proc.exe != /usr/bin/nod", "proc.exe == '/usr/bin/node'", "proc.name = node",
        'proc.args = "-c server.js, a=b"', "not proc.args = -c", "not proc.user = Root", "proc.group = ''",
        "proc.exe contains bin", "proc.exe icontains NODE", "not proc.exe contains NODE", "proc.args contains -c",
        "proc.exe startswith /usr", "proc.exe endswith node", "not proc.exe endswith /usr", "proc.exe ENDSWITH node",
        "proc.exe pmatch (java, node)", "not proc.exe pmatch (java)", "not proc.exe pmatch ()", "res = /etc/passwd",
        "file.directory = /etc and file.name = passwd and file.type = f", "version = 4", "state = CREATED",
        "proc.cmdline startswith '/usr/bin/node -c'", "proc.env = 'HOME=/root' and proc.env contains HOME",
        # numbers as numbers
        "proc.pid = 42", "proc.pid = 0x2a", "proc.pid < 100", "not proc.pid < 42", "proc.pid <= 42", "proc.pid >= 42",
        "proc.pid > -1", "not proc.pid > 42", "proc.pid in (41, 42)", "proc.pid != 41", "proc.uid = 0", "proc.tid=42",
        "flow.wbytes > 9", "flow.wbytes = [10, 11]", "flow.wops != [10, 11]", "schema = 5",
        "proc.createts = 1531776736370537339",
        # times
        "ts = 1531776736370537340", "ts >= 2018-07-16T21:32:16.370537", "ts < '2018-07-16 21:32:17'",
        "ts > 2018-07-16", "ts < 2018-07-17T00:00:00+02:00", "ts_uts = 1531776736370537340", "endts > ts", "ts < endts",
        # booleans
        "proc.tty = false", "proc.tty = False", "proc.tty != true", "proc.entry = True", "file.is_open_write = true",
        "file.is_open_read = false", "container.privileged = false",
        # several values
        "opflags = OPEN", "opflags = WRITE", "opflags = SEND", "opflags = WRITE_SEND", "opflags = OP_CLOSE",
        "opflags in (READ, CLOSE)", "opflags != READ", "not opflags != OPEN", "opflags contains WRI",
        "opflags != [READ, RECV]", "not opflags != [READ, OPEN]", "opflags exists",
        "file.openflags = WRONLY", "file.openflags in (O_CREAT, EXCL)", "file.openflags = 6", "file.openflags != TRUNC",
        "proc.aname = sshd", "proc.aname = /usr/sbin/sshd", "proc.aname = node", "proc.aname contains usr",
        "proc.aname[0] = node", "proc.aname[1] = sshd", "not proc.aname[2] exists", "proc.apid[1] = 7",
        "not proc.aname[1] = node", "evt.dir = <", "evt.dir=< and not (evt.dir = >)",
        "proc.apid = 7", "proc.apid in (42)", "proc.apid > 41", "not proc.apid > 42",
        # there or not
        "proc.uid exists", "proc.tty exists", "exists proc.exe", "not proc.group exists", "not ret exists",
        "proc.group = None", "container.id != None", "not container.id = host", "net.dport = None", "opflags != None",
        "not opflags = None", "file.newpath in (None, x)", "net.ip = None", "not proc.exe in (None, 'None')",
        "not proc.exe = 'None'", "container.id exists",
        # absent is false, and not of it true
        "not net.dport > 0", "not net.dport != 80", "not net.sip != 10.0.0.1", "not net.ip = 10.0.0.1", "not ret >= 0",
        "not k8s.msg contains a", "not pf.nthreads = 0", "not pod.name != x", "not net.port != 80", "not net.ip exists",
        # names of values, and Falco's
        "container.type = docker", "container.type = CT_DOCKER", "container.type != cri-o", "container.type != host",
        "evt.type = openat", "evt.type in (read, close)", "evt.type != execve", "not evt.type = recvfrom",
        "evt.type = OPEN", "sf.evt.type = write", "not evt.type = sendto", "evt.type startswith open",
        "proc.pname = sshd", "fd.name = /etc/passwd", "user.name = root", "fd.num = 3", "proc.ppid = 7",
        # fields on the right
        "proc.pid = proc.tid", "proc.exe != pproc.exe", "not proc.exe = pproc.exe", "proc.uid < pproc.uid",
        "proc.exe contains proc.name", "proc.apid = pproc.pid", "not proc.apid != proc.pid", "proc.name = sf.proc.name",
        "proc.exe != proc.pexe", "proc.name != type", "file.path startswith file.directory",
    ],
)  # fmt: skip
def test_a_file_flow(make: SimpleNamespace, query: str) -> None:
    assert true(query, make.file_flow())


@pytest.mark.parametrize(
    "query",
    [
        "net.sip = 10.0.0.1", "net.sip in (10.0.0.0/8)", "net.sip = 10.0.0.0/8", "net.dip != 10.0.0.0/8",
        "net.ip = 93.184.216.34", "net.ip in (192.168.0.0/16, 93.184.216.34)", "not net.ip != 10.0.0.1",
        "net.ip != [1.2.3.4, 127.0.0.0/8]", "net.sip = 16777226", "net.sip startswith 10.", "net.dip endswith .34",
        "net.port = 443", "net.port > 443", "not net.port != 443", "net.port != 80", "net.port in (1, 443)",
        "net.proto = 6", "net.proto = tcp", "fd.l4proto in (udp, TCP)", "fd.sport = 443", "fd.cip = 10.0.0.1",
        "evt.type = recvfrom", "evt.type = read", "evt.type = connect", "not evt.type in (sendto, accept)",
        "opflags = RECV", "container.id = None", "container.id = host", "container.type in (host)",
        "net.sip != net.dip", "pproc.exe = None", "not proc.exe != pproc.exe", "net.sport > net.dport",
        "flow.rbytes > 1024",
    ],
)  # fmt: skip
def test_a_network_flow(make: SimpleNamespace, query: str) -> None:
    assert true(query, make.network_flow())


@pytest.mark.parametrize(
    "query",
    [
        "net.sip = ::1", "net.ip in (fd00::/8)", "net.dip startswith fd12", "not net.ip = 10.0.0.0/8",
        "net.dip = FD12:0::1",
    ],
)  # fmt: skip
def test_ipv6(make: SimpleNamespace, query: str) -> None:
    there = bytes.fromhex("fd12" + "00" * 13 + "01")
    assert true(query, make.network_flow("0.0.0.0", "0.0.0.0", sip6=bytes(15) + b"\x01", dip6=there))


@pytest.mark.parametrize(
    "query",
    ["ret = -2", "ret in (-1, -2)", "ret < 0", "not proc.exe exists", "not proc.aname = a", "proc.aname = None",
     "evt.type = execve", "evt.rawres != 0", "file.path = None", "not opflags != EXEC", "proc.pid = None"],
)  # fmt: skip
def test_an_event_of_an_unknown_process(make: SimpleNamespace, query: str) -> None:
    assert true(query, make.exec_event())


@pytest.mark.parametrize(
    "query",
    ["type = KE", "k8s.kind = K8S_PODS", "k8s.msg = hello", "not opflags != OPEN", "opflags = None", "ts > 0",
     "not evt.type != open", "opflags_bitmap = None"],
)  # fmt: skip
def test_an_event_without_operations(make: SimpleNamespace, query: str) -> None:
    assert true(query, make.k8s_event())


@pytest.mark.parametrize(
    ("query", "place", "cause"),
    [
        ("TYPE = FF", "TYPE", "unknown field TYPE"),
        ("a and proc.nme = x", "proc.nme", "unknown macro a"),
        ("type = FF and proc.nme = x", "proc.nme", "unknown field proc.nme (proc.name?)"),
        ("nosuch.attr exists", "nosuch.attr", "unknown field nosuch.attr"),
        ("proc.name[2] = x", "2]", "proc.name takes no argument"),
        ("proc.aname[x] = x", "x]", "'x' is no number of generations"),
        ("evt.dir = in", "in", "'in' is no direction: <, >"),
        ("type", "type", "type is a field: an operator has to follow"),
        ("net.dport = http", "http", "'http' is no number, and net.dport is a number"),
        ("proc.pid > 10.5", "10.5", "'10.5' is no number"),
        ("proc.pid contains 1", "contains", "contains cannot be used with proc.pid, which is a number"),
        ("proc.exe < a", "< a", "< cannot be used with proc.exe, which is text"),
        ("proc.tty = 1", "1", "'1' is neither true nor false, and proc.tty is a boolean"),
        ("net.sip = 10.0.0", "10.0.0", "is no IP address or network, and net.sip is an address"),
        ("ts > yesterday", "yesterday", "is no number, and ts is a time"),
        ("ts > 2018-13-01", "2018-13-01", "is no time as"),
        ("ts < None", "None", "'None' is no number, and ts is a time"),
        ("type = file", "file", "'file' is no record type: H, C, P, F, PE, NF, FF,"),
        ("opflags in (OPEN, WRITES)", "WRITES", "'WRITES' is no operation (WRITE?)"),
        ("file.openflags = RDONL", "RDONL", "'RDONL' is no open flag (RDONLY?)"),
        ("evt.type = ptrace", "ptrace", "'ptrace' is no event that makes records"),
        ("container.type = dokcer", "dokcer", "(CT_DOCKER?)"),
        ("proc.pid = proc.exe", "proc.exe", "proc.pid is a number, and proc.exe is text"),
        ("proc.exe = proc.pid", "proc.pid", "proc.exe is text, and proc.pid is a number"),
        ("proc.pid = type", "type", "'type' is no number"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(query: str, place: str, cause: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_query(query)
    assert cause in caught.value.cause
    assert caught.value.exit_code == EXIT_USAGE
    if not cause.startswith("unknown macro"):
        assert column_of(caught.value).startswith(place)


def test_every_field_and_alias_can_be_asked_for(make: SimpleNamespace) -> None:
    records = [make.file_flow(), make.network_flow(), make.exec_event(), make.k8s_event()]
    for name in [*FIELDS, *ALIASES, *(f"sf.{name}" for name in FIELDS)]:
        exists, absent = compile_query(f"{name} exists"), compile_query(f"{name} = None")
        for record in records:
            assert exists(TupleRow(record)) != absent(TupleRow(record)), name


def test_no_comparison_fails_on_a_record(make: SimpleNamespace) -> None:
    rows = [TupleRow(record) for record in (make.file_flow(), make.network_flow(), make.exec_event(), make.k8s_event())]
    values = ["1", "OPEN", "10.0.0.0/8", "true", "None", "proc.tid", "proc.aname", "net.ip"]
    decided = 0
    for name in FIELDS:
        for operator in OPERATORS:
            for value in values:
                right = {Takes.NOTHING: "", Takes.VALUE: value, Takes.LIST: f"({value}, {value})"}[operator.takes]
                wanted = result(f"{name} {operator.name} {right}")
                if not isinstance(wanted, FilterError):
                    assert all(isinstance(wanted(row), bool) for row in rows), f"{name} {operator.name} {right}"
                    decided += 1
    assert decided > 2000


def test_every_system_call_is_some_operation(make: SimpleNamespace) -> None:
    for operation, names in SYSTEM_CALLS.items():
        for name in names:
            assert true(f"evt.type = {name}", make.file_flow(opFlags=0x1FFFFF)), operation


def test_macros_and_lists(make: SimpleNamespace) -> None:
    definitions = Definitions()
    definitions.read(
        "- macro: both\n  condition: flow_of_node and written\n"
        "- macro: flow_of_node\n  condition: type = FF and proc.name in (runtimes)\n"
        "- macro: written\n  condition: opflags = WRITE or opflags = TRUNCATE\n"
        "- list: runtimes\n  items: [jvm, 'node', \"python\"]\n"
        "- list: jvm\n  items: [java]\n"
    )
    assert true("both", make.file_flow(), definitions)
    assert true("not both and flow_of_node", make.file_flow(opFlags=0x80), definitions)
    assert true("proc.name in (x, runtimes)", make.file_flow(), definitions)
    assert true("proc.name = [runtimes]", make.file_flow(), definitions)
    assert true("proc.exe pmatch (runtimes)", make.file_flow(), definitions)
    assert not true("proc.name in ('runtimes')", make.file_flow(), definitions)
    assert not true("proc.name = runtimes", make.file_flow(), definitions)
    with pytest.raises(FilterError, match=r"unknown macro bth \(both\?\)"):
        compile_query("bth", definitions)


def test_a_query_may_bring_its_definitions(make: SimpleNamespace) -> None:
    given = Definitions()
    given.read("- list: a\n  items: [node]")
    text = "# mine\n- macro: m\n  condition: proc.name in (a)\n- sfql: m and type = FF"
    assert true(text, make.file_flow(), given)
    assert given.macros == {}
    with pytest.raises(FilterError, match="no expression"):
        compile_query("- macro: m\n  condition: type = FF\n")
    with pytest.raises(FilterError, match=r"query:3: unknown field x\.y"):
        compile_query("- macro: m\n  condition: type = FF\n    or x.y = 1\n- sfql: m")


def test_macros_in_themselves_are_refused() -> None:
    definitions = Definitions()
    definitions.read("- macro: a\n  condition: not b\n- macro: b\n  condition: type = FF or a\n", "d.yaml")
    with pytest.raises(FilterError, match=r"d\.yaml:4: the macro a is in itself"):
        compile_query("a", definitions)


def macros(count: int, condition: str) -> Definitions:
    definitions = Definitions()
    definitions.read("- macro: m0\n  condition: type = FF\n")
    for number in range(1, count):
        definitions.read(f"- macro: m{number}\n  condition: {condition.replace('?', f'm{number - 1}')}\n")
    return definitions


def test_macros_are_bounded_in_size_and_depth(make: SimpleNamespace) -> None:
    assert true("m12", make.file_flow(), macros(14, "? and ?"))
    with pytest.raises(FilterError, match=f"more than {MAX_EXPANDED_CHECKS} checks"):
        compile_query("m30", macros(31, "? and ?"))
    with pytest.raises(FilterError, match=f"more than {MAX_EXPANDED_CHECKS} checks"):
        compile_query(" or ".join(["m12"] * 3), macros(13, "? and ?"))
    for condition in ("?", "not " * 90 + "?"):
        with pytest.raises(FilterError, match="nested more than 100 deep"):
            compile_query("m2000", macros(2001, condition))
        with pytest.raises(FilterError, match="nested more than 100 deep"):
            compile_query("m3 and m2 and m1 and m0 and m101", macros(102, condition))


def test_a_result_is_kept_only_for_the_same_process(make: SimpleNamespace) -> None:
    wanted = compile_query("proc.name = node")
    flow = make.file_flow()
    other = (*flow[:5], make.process(exe="/bin/sh"), *flow[6:])
    unknown = make.exec_event()
    for record, result in ((flow, True), (other, False), (flow, True), (unknown, False), (flow, True)):
        assert wanted(TupleRow(record)) is result
        assert wanted(TupleRow(record)) is result


names = st.sampled_from(["type", "ts", "proc.exe", "proc.pid", "opflags", "net.ip", "net.sip", "proc.tty", "evt.type"])
values = st.sampled_from(["FF", "1", "-1", "OPEN", "10.0.0.0/8", "true", "None", "proc.tid", "open", "/etc"])


@st.composite
def checks(draw: st.DrawFn) -> str:
    operator, value = draw(st.sampled_from(OPERATORS)), draw(values)
    shown = {Takes.NOTHING: "", Takes.VALUE: f" {value}", Takes.LIST: f" ({value}, {draw(values)})"}[operator.takes]
    return f"{draw(names)} {operator.name}{shown}"


def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)


@given(st.recursive(checks(), grow, max_leaves=6))
def test_a_query_is_refused_or_decides(make: SimpleNamespace, query: str) -> None:
    wanted, unwanted = result(query), result(f"not ({query})")
    if isinstance(wanted, FilterError) or isinstance(unwanted, FilterError):
        assert isinstance(wanted, FilterError)
        assert isinstance(unwanted, FilterError)
        assert unwanted.column == wanted.column + len("not (")
        return
    for record in (make.file_flow(), make.network_flow(), make.exec_event(), make.k8s_event()):
        row = TupleRow(record)
        assert wanted(row) is not unwanted(row)
