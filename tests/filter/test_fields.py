"""The values of fields, on an engine made by hand; and that no capture makes one raise or have a wrong type."""

from types import SimpleNamespace
from typing import Any

import pytest

from sftools.engine import state_cy as state
from sftools.engine.containers import CT_CRIO, CT_CUSTOM, CT_DOCKER, CT_LXC
from sftools.filter.fields import BY_NAME, FIELDS, Argument
from sftools.filter.values import FieldType
from sftools.scap import fd_types, tables
from sftools.scap.event_table import EVENTS


def value(engine: Any, name: str, argument: Any = None) -> Any:
    """A field's value; a tuple of those of a field with several."""
    field = BY_NAME[name]
    if argument is not None:
        assert field.bind is not None
        return field.bind(argument)(engine)
    if field.of_event is not None:
        return field.of_event(EVENTS[engine.cursor.type])
    if field.each is not None:
        return tuple(field.each(engine))
    assert field.get is not None
    return field.get(engine)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("evt.num", 7),
        ("evt.type", b"openat"),
        ("evt.dir", b"<"),
        ("evt.category", b"file"),
        ("evt.cpu", 2),
        ("evt.time", b"13:05:59.000000001"),
        ("evt.datetime", b"2024-02-29 13:05:59.000000001"),
        ("evt.time.iso8601", b"2024-02-29T13:05:59.000000001+0000"),
        ("evt.rawtime", 1_709_211_959_000_000_001),
        ("evt.rawtime.s", 1_709_211_959),
        ("evt.rawtime.ns", 1),
        ("evt.res", b"SUCCESS"),
        ("evt.rawres", 3),
        ("evt.failed", False),
        ("evt.is_io", False),
        ("evt.is_open_read", True),
        ("evt.is_open_write", False),
        ("evt.is_open_create", False),
        ("proc.name", b"bash"),
        ("proc.exe", b"-bash"),
        ("proc.exepath", b"/usr/bin/bash"),
        ("proc.args", b"-c echo a"),
        ("proc.cmdline", b"bash -c echo a"),
        ("proc.exeline", b"-bash -c echo a"),
        ("proc.cmdnargs", 2),
        ("proc.cmdlenargs", 8),
        ("proc.pid", 100),
        ("proc.ppid", 10),
        ("proc.vpid", 100),
        ("proc.pvpid", 10),
        ("proc.pname", b"sshd"),
        ("proc.pexe", b"sshd"),
        ("proc.pexepath", b"/usr/sbin/sshd"),
        ("proc.pcmdline", b"sshd -D"),
        ("proc.aname", (b"sshd", b"init")),
        ("proc.aexe", (b"sshd", b"/sbin/init")),
        ("proc.acmdline", (b"sshd -D", b"init")),
        ("proc.apid", (10, 1)),
        ("proc.env", b"HOME=/root LANG=C"),
        ("proc.cwd", b"/root/"),
        ("proc.tty", 34816),
        ("proc.sid", 100),
        ("proc.is_sid_leader", True),
        ("proc.loginshellid", 100),
        ("proc.duration", None),
        ("proc.nthreads", 1),
        ("proc.nchilds", 0),
        ("proc.fdopencount", 3),
        ("thread.tid", 100),
        ("thread.vtid", 100),
        ("thread.ismain", True),
        ("user.uid", 0),
        ("user.name", b"root"),
        ("user.loginuid", 1000),
        ("user.loginname", b"alice"),
        ("group.gid", 0),
        ("group.name", b"wheel"),
        ("container.id", b"host"),
        ("container.name", b"host"),
        ("container.type", b"host"),
        ("container.image", None),
        ("container.privileged", None),
        ("k8s.pod.name", None),
        ("fd.num", 3),
        ("fd.type", b"file"),
        ("fd.typechar", b"f"),
        ("fd.name", b"/etc/passwd"),
        ("fd.directory", b"/etc"),
        ("fd.filename", b"passwd"),
        ("fd.containername", b":/etc/passwd"),
        ("fd.l4proto", b"<NA>"),
        ("fd.sockfamily", None),
        ("fd.is_server", False),
        ("fd.sip", None),
        ("fd.ip", ()),
    ],
)
def test_of_a_file_opened_on_the_host(make_engine: Any, name: str, expected: Any) -> None:
    assert value(make_engine(), name) == expected


def test_ancestors_by_number_and_variables_by_name(make_engine: Any) -> None:
    engine = make_engine()
    assert [value(engine, "proc.aname", level) for level in range(4)] == [b"bash", b"sshd", b"init", None]
    assert value(engine, "proc.env", b"LANG") == b"C"
    assert value(engine, "proc.env", b"LAN") == b""


def test_failed_calls(make_engine: Any) -> None:
    engine = make_engine("PPME_SYSCALL_UNLINK_2_X", res=-2, info=None, fd=-1)
    assert (value(engine, "evt.res"), value(engine, "evt.rawres"), value(engine, "evt.failed")) == (b"ENOENT", -2, True)
    assert value(make_engine(res=-512), "evt.res") == b"ERESTARTSYS"
    assert value(make_engine(res=-(2**63)), "evt.res") == b"9223372036854775808"
    assert value(engine, "fd.num") is None
    assert value(engine, "fd.name") is None


def test_events_without_result(make_engine: Any) -> None:
    engine = make_engine("PPME_PROCEXIT_1_E", info=None, fd=-1, res=0)
    assert value(engine, "evt.res") is None
    assert value(engine, "evt.rawres") is None
    assert value(engine, "evt.failed") is False
    assert value(engine, "evt.dir") == b">"


def test_opening(make_engine: Any, fds: Any) -> None:
    both = fds.file(openflags=tables.PPM_O_RDWR | tables.PPM_O_F_CREATED)
    for name in ("evt.is_open_read", "evt.is_open_write", "evt.is_open_create"):
        assert value(make_engine(info=both), name) is True
        assert value(make_engine("PPME_SYSCALL_READ_X", info=both), name) is False


@pytest.mark.parametrize(
    ("event", "kind", "category"),
    [
        ("PPME_SYSCALL_READ_X", fd_types.FD_FILE, b"file"),
        ("PPME_SYSCALL_WRITE_X", fd_types.FD_IPV4_SOCK, b"net"),
        ("PPME_SYSCALL_CLOSE_X", fd_types.FD_FIFO, b"ipc"),
        ("PPME_SYSCALL_READ_X", fd_types.FD_UNSUPPORTED, b"unknown"),
        ("PPME_SYSCALL_EXECVE_19_X", fd_types.FD_FILE, b"process"),
    ],
)
def test_categories(make_engine: Any, fds: Any, event: str, kind: int, category: bytes) -> None:
    assert value(make_engine(event, info=fds.file(type=kind)), "evt.category") == category


def test_a_thread_that_is_not_the_main_one(make_engine: Any, make_thread: Any) -> None:
    leader = make_thread(tid=100, pid=100, ptid=10, comm=b"java", env=b"A=1\0")
    thread = make_thread(tid=101, pid=100, ptid=10, comm=b"worker", env=b"")
    thread.group = leader.group
    thread.group.alive = 2
    engine = make_engine(thread=thread, threads=(leader,))
    assert value(engine, "thread.ismain") is False
    assert value(engine, "proc.name") == b"worker"
    assert value(engine, "proc.aname", 0) == b"java"
    assert value(engine, "proc.ppid") == 10
    assert value(engine, "proc.nchilds") == 1
    assert value(engine, "proc.env", b"A") == b"1"
    leader.group.leader = None
    assert value(engine, "proc.ppid") is None
    assert value(engine, "proc.aname") == ()
    assert value(engine, "proc.aname", 0) is None


def test_a_thread_of_which_only_the_tid_is_known(make_engine: Any, make_thread: Any) -> None:
    engine = make_engine(thread=make_thread(pid=-1, ptid=-1, vpid=-1, group=None, comm=b"<NA>", args=b"", env=b""))
    for name in ("proc.cwd", "proc.ppid", "proc.pname", "proc.nthreads", "proc.nchilds", "proc.fdopencount"):
        assert value(engine, name) is None, name
    assert value(engine, "proc.cmdline") == b"<NA>"


def test_login_and_duration(make_engine: Any, make_thread: Any) -> None:
    engine = make_engine(thread=make_thread(loginuid=0xFFFFFFFF, clone_ts=1_709_211_958_000_000_000))
    assert value(engine, "user.loginuid") == -1
    assert value(engine, "user.loginname") == b"<NA>"
    assert value(engine, "proc.duration") == 1_000_000_001
    ahead = make_engine(thread=make_thread(clone_ts=2**63))
    assert value(ahead, "proc.duration") == 0


def container(**changes: Any) -> Any:
    facts = {
        "id": b"0123456789ab", "name": b"web", "image": b"nginx:1.25", "imageid": b"feed", "type": CT_DOCKER,
        "privileged": True, "complete": True, "pod": None,
    }  # fmt: skip
    return SimpleNamespace(**(facts | changes))


def test_containers(make_engine: Any, make_thread: Any) -> None:
    def of(field: str, **changes: Any) -> Any:
        return value(make_engine(thread=make_thread(container=container(**changes))), f"container.{field}")

    assert of("id") == b"0123456789ab"
    assert of("name") == b"web"
    assert of("name", name=b"") is None
    assert (of("image"), of("image.repository"), of("image.tag")) == (b"nginx:1.25", b"nginx", b"1.25")
    registry = b"localhost:5000/nginx:1:1"
    assert (of("image", image=registry), of("image.repository", image=registry)) == (
        b"localhost:5000/nginx:1",
        b"localhost:5000/nginx",
    )
    for name in ("image", "image.repository", "image.tag"):
        assert of(name, image=b":") is None
    assert of("image.id") == b"feed"
    assert (of("type"), of("type", type=CT_CRIO), of("type", type=CT_CUSTOM)) == (b"docker", b"cri-o", b"podman")
    assert of("privileged") is True
    assert of("privileged", type=CT_LXC) is None
    assert of("privileged", complete=False) is None


def test_users_of_a_container(make_engine: Any, make_thread: Any) -> None:
    engine = make_engine(thread=make_thread(container=container(), uid=33, user=b"www-data", gid=0, group_name=None))
    engine.users.add_user(b"0123456789ab", 1000, b"bob")
    assert value(engine, "user.name") == b"www-data"
    assert value(engine, "group.name") == b"root"
    assert value(engine, "user.loginname") == b"bob"
    assert value(engine, "fd.containername") == b"0123456789ab:/etc/passwd"


def test_pods(make_engine: Any, make_thread: Any) -> None:
    pod = SimpleNamespace(name=b"web-1", id=b"uid-1", namespace=b"shop", labels={b"app": b"web"})
    engine = make_engine(thread=make_thread(container=container(pod=pod)))
    assert [value(engine, f"k8s.{name}") for name in ("pod.name", "pod.id", "ns.name")] == [b"web-1", b"uid-1", b"shop"]
    assert value(engine, "k8s.pod.label", b"app") == b"web"
    assert value(engine, "k8s.pod.label", b"tier") is None


ENDS = ("cip", "sip", "dip", "lip", "rip", "cnet", "snet", "lnet", "rnet")
PORTS = ("cport", "sport", "dport", "lport", "rport")


@pytest.mark.parametrize("server", [False, True])
def test_ends_of_a_connection(make_engine: Any, fds: Any, server: bool) -> None:
    info = fds.tcp(role=state.ROLE_SERVER if server else state.ROLE_CLIENT)
    engine = make_engine("PPME_SOCKET_SENDTO_X", info=info)
    client, service = info.sip, info.dip
    own, other = (service, client) if server else (client, service)
    assert [value(engine, f"fd.{name}") for name in ENDS] == [
        *(client, service, service, own, other),
        *(client, service, own, other),
    ]
    own_port, other_port = (443, 40000) if server else (40000, 443)
    assert [value(engine, f"fd.{name}") for name in PORTS] == [40000, 443, 443, own_port, other_port]
    assert value(engine, "fd.ip") == value(engine, "fd.net") == (client, service)
    assert value(engine, "fd.port") == (40000, 443)
    assert value(engine, "fd.is_server") is server
    assert value(engine, "fd.l4proto") == b"tcp"
    assert value(engine, "fd.sockfamily") == b"ip"
    assert value(engine, "fd.directory") is None
    assert value(engine, "fd.filename") is None


def test_a_socket_without_role_has_no_client_and_server(make_engine: Any, fds: Any) -> None:
    engine = make_engine("PPME_SYSCALL_CLOSE_X", info=fds.tcp(role=0))
    assert [value(engine, f"fd.{name}") for name in (*ENDS, *PORTS)] == [None] * 14
    assert len(value(engine, "fd.ip")) == 2


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, b"10.0.0.1:40000->93.184.216.34:443"),
        ({"sip": 0, "sport": 0, "dip": 0, "dport": 0}, b""),
        ({"type": fd_types.FD_IPV4_SERVSOCK, "sip": 0, "sport": 80, "dip": 0, "dport": 0}, b"0.0.0.0:80"),
        (
            {"type": fd_types.FD_IPV6_SOCK, "sip6": bytes(15) + b"\1", "dip6": b"\xfd" + bytes(15)},
            b"::1:40000->fd00:::443",
        ),
        ({"type": fd_types.FD_IPV6_SOCK, "sip6": None, "dip6": bytes(15) + b"\1", "sport": 0}, b":::0->::1:443"),
        ({"type": fd_types.FD_IPV6_SERVSOCK, "sip6": bytes(16), "sport": 80}, b":::80"),
        ({"type": fd_types.FD_UNIX_SOCK, "name": b"1->2 /run/x"}, b"1->2 /run/x"),
        ({"type": fd_types.FD_FIFO, "name": None}, b""),
    ],
)
def test_names(make_engine: Any, fds: Any, changes: dict[str, Any], name: bytes) -> None:
    assert value(make_engine(info=fds.tcp(**changes)), "fd.name") == name


def test_listening_sockets(make_engine: Any, fds: Any) -> None:
    engine = make_engine(info=fds.tcp(type=fd_types.FD_IPV4_SERVSOCK, sip=fds.ip4("10.0.0.9"), sport=80, dport=0))
    assert value(engine, "fd.sip") == fds.ip4("10.0.0.9")
    assert value(engine, "fd.sport") == 80
    assert value(engine, "fd.is_server") is True
    assert value(engine, "fd.cip") is None
    assert value(engine, "fd.port") == (80,)
    six = make_engine(info=fds.tcp(type=fd_types.FD_IPV6_SERVSOCK, sip6=bytes(16), sport=80))
    assert value(six, "fd.sip") == bytes(16)
    assert value(six, "fd.ip") == (bytes(16),)


@pytest.mark.parametrize(
    ("kind", "path", "directory", "filename"),
    [
        (fd_types.FD_FILE, b"/a/b/c", b"/a/b", b"c"),
        (fd_types.FD_FILE, b"/a", b"/", b"a"),
        (fd_types.FD_FILE, b"a", b"/", b"/"),
        (fd_types.FD_FILE, b"/", b"/", b"/"),
        (fd_types.FD_FILE, b"/a/", b"/a/", b"/a/"),
        (fd_types.FD_FILE, b"", b"/", b"/"),
        (fd_types.FD_DIRECTORY, b"/a/b", b"/a/b", None),
        (fd_types.FD_FIFO, b"pipe", None, None),
    ],
)
def test_directories(make_engine: Any, fds: Any, kind: int, path: bytes, directory: bytes, filename: bytes) -> None:
    engine = make_engine(info=fds.file(type=kind, name=path))
    assert value(engine, "fd.directory") == directory
    assert value(engine, "fd.filename") == filename


def test_every_fd_type_has_a_name_and_a_character(make_engine: Any, fds: Any) -> None:
    kinds = {number for name, number in vars(fd_types).items() if name.startswith("FD_")}
    assert len(kinds) == 21
    for kind in kinds:
        engine = make_engine(info=fds.file(type=kind))
        assert (value(engine, "fd.type") == b"<NA>") == (kind == fd_types.FD_UNSUPPORTED)
        assert value(engine, "fd.typechar") != b"o"


def test_every_field_has_one_way_to_its_value() -> None:
    for field in FIELDS:
        ways = [way for way in (field.get, field.each, field.of_event) if way is not None]
        assert len(ways) == (0 if field.name == "k8s.pod.label" else 1), field.name
        assert (field.bind is None) == (field.argument is Argument.NONE)
        assert field.description


PYTHON_TYPES: dict[FieldType, tuple[type, ...]] = {
    FieldType.TEXT: (bytes,),
    FieldType.NUMBER: (int,),
    FieldType.BOOL: (bool,),
    FieldType.ADDRESS: (int, bytes),
}


def wrong_fields(engine: Any) -> list[str]:
    """Fields whose values at this event are of another type than theirs, or whose getter raises."""
    wrong = []
    for field in FIELDS:
        try:
            found = [value(engine, field.name)] if field.get or field.each or field.of_event else []
            if field.each is not None:
                found = list(found[0])
            if field.bind is not None:
                found.append(field.bind(1 if field.argument is Argument.LEVEL else b"x")(engine))
        except Exception as error:
            wrong.append(f"{field.name}: {error!r}")
            continue
        wrong += [
            f"{field.name}: {got!r}" for got in found if got is not None and type(got) not in PYTHON_TYPES[field.type]
        ]
    return wrong


def test_no_capture_makes_a_field_raise_or_have_a_wrong_type(capture: Any, run_capture: Any) -> None:
    wrong: set[str] = set()
    events = 0

    def predicate(engine: Any) -> bool:
        nonlocal events
        events += 1
        if events <= 2000:
            wrong.update(wrong_fields(engine))
        return True

    run_capture(capture, predicate)
    assert wrong == set()
