"""What filters mean: operators, types, absent values, several values; and what they refuse."""

from typing import Any

import pytest

from sftools.filter import FilterError, compile_filter
from sftools.limits import MAX_ANCESTORS, MAX_FILTER_DEPTH


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # texts
        ("proc.name = bash", True),
        ("proc.name == bas", False),
        ("proc.name != bash", False),
        ("proc.name != zsh", True),
        ("proc.name < bash2", True),
        ("proc.name <= bash", True),
        ("proc.name > bash", False),
        ("proc.name >= bash", True),
        ("proc.exepath contains /bin/", True),
        ("proc.exepath contains /BIN/", False),
        ("proc.exepath icontains /BIN/", True),
        ("proc.exepath bcontains 2f62696e", True),
        ("proc.exepath bcontains 2f62696f", False),
        ("proc.exepath startswith /usr", True),
        ("proc.exepath startswith usr", False),
        ("proc.exepath bstartswith 2F75", True),
        ("proc.exepath endswith bash", True),
        ("proc.exepath endswith bas", False),
        ("proc.exepath glob /usr/*sh", True),
        ("proc.exepath glob /usr/*SH", False),
        ("proc.exepath iglob /usr/*SH", True),
        ("proc.exepath pmatch (/etc, /usr)", True),
        ("proc.exepath pmatch (/us, /usr/bin/bash/x)", False),
        ("proc.exepath pmatch (/*/bin)", True),
        ("proc.name in (zsh, bash)", True),
        ("proc.name in (zsh)", False),
        ("proc.name in ()", False),
        ("proc.name intersects (zsh, bash)", True),
        ("proc.name exists", True),
        # numbers
        ("proc.pid = 100", True),
        ("proc.pid = 0x64", True),
        ("proc.pid != 100", False),
        ("proc.pid < 101", True),
        ("proc.pid <= 99", False),
        ("proc.pid > -1", True),
        ("proc.pid >= 100", True),
        ("proc.pid in (1, 0x64)", True),
        ("proc.pid in (1, 2)", False),
        ("proc.tty exists", True),
        # bools
        ("thread.ismain = true", True),
        ("thread.ismain != true", False),
        ("thread.ismain in (false)", False),
        # what depends on the event alone
        ("evt.type = openat", True),
        ("evt.type != openat", False),
        ("evt.type in (open, openat)", True),
        ("evt.type startswith open", True),
        ("evt.type glob o*t", True),
        ("evt.type exists", True),
        ("evt.dir = <", True),
        ("evt.dir = >", False),
        ("evt.is_io = false", True),
        # logic
        ("proc.name = bash and proc.pid = 100", True),
        ("proc.name = bash and proc.pid = 1", False),
        ("proc.name = zsh or proc.pid = 100", True),
        ("proc.name = zsh or proc.pid = 1", False),
        ("proc.name = bash and proc.pid = 100 and proc.tty = 0", False),
        ("proc.name = zsh or proc.pid = 1 or proc.tty > 0", True),
        ("not proc.name = bash", False),
        ("not (proc.name = zsh and proc.pid = 100)", True),
        ("proc.name = bash or proc.name = zsh and proc.pid = 1", True),
        ("(proc.name = bash or proc.name = zsh) and proc.pid = 1", False),
    ],
)
def test_conditions(make_engine: Any, text: str, expected: bool) -> None:
    assert compile_filter(text)(make_engine()) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fd.sip = 93.184.216.34", True),
        ("fd.sip = 93.184.0.0/16", True),
        ("fd.sip != 93.184.0.0/16", False),
        ("fd.sip in (10.0.0.0/8, 1.2.3.4)", False),
        ("fd.cip in (10.0.0.0/8, 1.2.3.4)", True),
        ("fd.cip in (10.0.0.1, 1.2.3.4)", True),
        ("fd.sip = ::1", False),
        ("fd.sip != ::/0", True),
        ("fd.net = 10.0.0.0/8", True),
        ("fd.net != 10.0.0.0/8", False),
        ("fd.net != 11.0.0.0/8", True),
        ("fd.ip = 10.0.0.1", True),
        ("fd.ip != 10.0.0.1", False),
        ("fd.ip in (93.184.216.34)", True),
        ("fd.ip exists", True),
        ("fd.port = 443", True),
        ("fd.port = 40000", True),
        ("fd.port != 443", False),
        ("fd.port != 80", True),
        ("fd.port < 1024", True),
        ("fd.port in (80, 443)", True),
        ("fd.name = 10.0.0.1:40000->93.184.216.34:443", True),
    ],
)
def test_addresses_and_ports(make_engine: Any, fds: Any, text: str, expected: bool) -> None:
    engine = make_engine("PPME_SOCKET_CONNECT_X", info=fds.tcp())
    assert compile_filter(text)(engine) is expected


@pytest.mark.parametrize("operator", ["= 1.2.3.4", "!= 1.2.3.4", "in (1.2.3.4, 0.0.0.0/0)", "exists"])
@pytest.mark.parametrize("field", ["fd.sip", "fd.ip", "fd.net", "fd.lip"])
def test_an_absent_value_makes_every_operator_false(make_engine: Any, field: str, operator: str) -> None:
    for engine in (make_engine(), make_engine(info=None, fd=-1)):
        assert compile_filter(f"{field} {operator}")(engine) is False
        assert compile_filter(f"not {field} {operator}")(engine) is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("proc.aname = sshd", True),
        ("proc.aname = init", True),
        ("proc.aname = bash", False),  # the process itself is none of its ancestors
        ("proc.aname != sshd", True),  # init is none
        ("proc.aname in (x, init)", True),
        ("proc.aname startswith ss", True),
        ("proc.aname exists", True),
        ("proc.aname[0] = bash", True),
        ("proc.aname[1] = sshd", True),
        ("proc.aname[2] = init", True),
        ("proc.aname[3] exists", False),
        ("proc.aname[3] != init", False),
        ("proc.apid = 10", True),
        ("proc.apid[1] = 10", True),
        ("proc.aexepath pmatch (/usr/sbin)", True),
        ("proc.env[HOME] = /root", True),
        ("proc.env['HOME'] = /home", False),
    ],
)
def test_ancestors_and_arguments(make_engine: Any, text: str, expected: bool) -> None:
    assert compile_filter(text)(make_engine()) is expected


def test_parents_in_a_circle_come_to_an_end(make_engine: Any, make_thread: Any) -> None:
    thread = make_thread(tid=200, pid=200, ptid=201)
    other = make_thread(tid=201, pid=201, ptid=200, comm=b"other")
    engine = make_engine(thread=thread, threads=(other,))
    assert compile_filter("proc.aname = other")(engine)
    assert not compile_filter("proc.aname = nobody")(engine)
    assert compile_filter(f"proc.aname[{MAX_ANCESTORS}] exists")(engine)
    own = make_engine(thread=make_thread(tid=200, pid=200, ptid=200))
    assert not compile_filter("proc.aname exists")(own)
    assert not compile_filter("proc.pname exists")(own)


@pytest.mark.parametrize(
    ("text", "column", "cause"),
    [
        ("proc.nme = a", 1, "unknown field proc.nme (proc.name?)"),
        ("evt.type=a and\nfd.nmae=b", 16, "unknown field fd.nmae (fd.name?)"),
        ("qqqqq.zzzzzz = 1", 1, "unknown field qqqqq.zzzzzz"),
        ("proc.pid = bash", 12, "'bash' is no number, and proc.pid is a number"),
        ("proc.pid in (1, two)", 17, "'two' is no number, and proc.pid is a number"),
        ("proc.pid > 18446744073709551616", 12, "is a number of more than 64 bits"),
        ("proc.pid contains 3", 10, "contains cannot be used with proc.pid, which is a number"),
        ("fd.sip < 10.0.0.1", 8, "< cannot be used with fd.sip, which is an address"),
        ("thread.ismain = yes", 17, "'yes' is neither true nor false, and thread.ismain is a bool"),
        ("fd.sip = localhost", 10, "'localhost' is no IP address or network, and fd.sip is an address"),
        ("fd.net in (10.0.0.0/8, 10.0.0.0/64)", 24, "is no IP address or network"),
        ("proc.name[1] = a", 11, "proc.name takes no argument"),
        ("proc.aname[x] = a", 12, "proc.aname takes a number as argument"),
        ("proc.aname[-1] = a", 12, "proc.aname takes a number as argument"),
        ("proc.aname[1000000000] = a", 12, "proc.aname takes a number as argument"),
        ("proc.aname[999999] = a", 12, "an ancestor of more than 1024 levels up"),
        ("k8s.pod.label = a", 1, "k8s.pod.label needs an argument"),
        ("fd.name glob '+(a)'", 14, "a pattern is wrong: extended patterns"),
        ("fd.name pmatch (/a, '/[z-a]')", 17, "a pattern is wrong: a range runs backwards"),
        ("fd.name bcontains xyz", 19, "'xyz' is no even number of hexadecimal digits"),
    ],
)
def test_errors_name_the_place(text: str, column: int, cause: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter(text)
    assert cause in caught.value.cause
    assert caught.value.column == column


def test_the_deepest_filter_can_be_called(make_engine: Any) -> None:
    text = "proc.name = bash"
    for _ in range((MAX_FILTER_DEPTH - 1) // 3):
        text = f"not ((proc.pid = 1 or {text}) and proc.tty > 0)"
    assert compile_filter(text)(make_engine()) in (True, False)


def test_ten_thousand_stars_and_values(make_engine: Any, fds: Any) -> None:
    engine = make_engine(info=fds.file(name=b"a" * 60_000))
    assert not compile_filter(f"fd.name glob '{'a*' * 200}b'")(engine)
    networks = ", ".join(f"10.{i // 256}.{i % 256}.0/24" for i in range(4000))
    predicate = compile_filter(f"fd.sip in ({networks})")
    assert not predicate(make_engine(info=fds.tcp()))
    assert predicate(make_engine(info=fds.tcp(dip=fds.ip4("10.15.3.9"))))
