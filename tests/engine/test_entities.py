"""Processes, files, containers and pods: each before what refers to it, in every file, and again when it changes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest

from sftools.filter import compile_filter
from sftools.limits import MAX_CLOCK_RETURNS, MAX_CONTAINERS, MAX_EXITED_BYTES, MAX_FILES
from sftools.scap import tables
from sftools.scap.writer import ScapWriter

Convert = Callable[..., Any]

SECOND = 10**9
SHELL = """user 33 www-data gid=33
group 33 www
process 1 comm=init exe=/sbin/init exepath=/sbin/init
process 500 parent=1 comm=sh exe=-sh exepath=/bin/sh args="-c 'a b' x" cwd=/srv uid=33 gid=33 env="A=1 B=2" tty=5
"""
MKDIR = "+ 500 mkdir path={} mode=0 res=0\n"
ID = "0123456789ab" + "c" * 52
CONTAINER = f"container web id={ID} image=nginx:1.25 imageid=ff00 type=docker\n"
POD = (
    f"container web id={ID} image=nginx:1.25 type=cri label:io.kubernetes.pod.name=web-0 ip=10.0.0.7 "
    "label:io.kubernetes.pod.uid=uid-1 label:io.kubernetes.pod.namespace=prod label:app=web\n"
)
INSIDE = "process 1 comm=init exe=/sbin/init\nprocess 700 parent=1 comm=nginx exe=/nginx container=web vpid=1\n"


# Processes


def test_a_process_is_described(convert: Convert) -> None:
    process = convert(SHELL + MKDIR.format("/x")).of("Process")[-1]
    assert process["exe"] == "/bin/sh"
    assert process["exeArgs"] == "-c a b x"
    assert (process["uid"], process["gid"], process["tty"], process["cwd"]) == (33, 33, True, "/srv/")
    assert process["env"] == ["A=1", "B=2"]
    assert (process["state"], process["containerId"], process["entry"]) == ("REUP", None, False)


@pytest.mark.parametrize("path", ['""', '"<NA>"'])
def test_exe_stands_in_for_an_unknown_exepath(convert: Convert, path: str) -> None:
    text = f"process 500 comm=sh exe=-sh exepath={path}\n" + MKDIR.format("/x")
    assert convert(text).one("Process")["exe"] == "-sh"


def test_ancestors_come_first(convert: Convert) -> None:
    text = "".join(f"process {pid} parent={pid - 1} comm=p exe=/p\n" for pid in range(1, 6))
    done = convert(text + "+ 5 mkdir path=/x mode=0 res=0")
    assert [p["oid"]["hpid"] for p in done.of("Process")] == [1, 2, 3, 4, 5]
    assert {p["state"] for p in done.of("Process")} == {"REUP"}
    assert done.order == ["SFHeader", *["Process"] * 5, "File", "FileEvent"]


def test_nothing_is_written_before_it_is_needed(convert: Convert) -> None:
    assert convert(SHELL).order == ["SFHeader"]


def test_a_process_is_written_once(convert: Convert) -> None:
    done = convert(SHELL + "".join(MKDIR.format(f"/{i}") for i in range(50)))
    assert len(done.of("Process")) == 2


def test_a_new_process_is_created_and_an_exec_modifies_it(convert: Convert) -> None:
    done = convert(SHELL + '+ 500 clone child=501 flags=0\n+ 501 execve filename=/bin/next exe=next args="a b"')
    states = [(p["oid"]["hpid"], p["state"], p["exe"]) for p in done.of("Process")]
    assert states == [
        (1, "REUP", "/sbin/init"),
        (500, "CREATED", "/bin/sh"),
        (501, "CREATED", "/bin/sh"),
        (501, "MODIFIED", "/bin/next"),
    ]
    assert done.of("Process")[-1]["exeArgs"] == "a b"


def test_a_setuid_modifies_the_process(convert: Convert) -> None:
    text = SHELL + "user 1000 eva\n" + MKDIR.format("/x") + "+ 500 setuid uid=1000 res=0"
    done = convert(text)
    last = done.of("Process")[-1]
    assert (last["state"], last["uid"], last["userName"]) == ("MODIFIED", 1000, "eva")
    assert done.one("ProcessEvent")["args"] == ["eva"]


def test_a_setuid_that_failed_changes_nothing(convert: Convert) -> None:
    done = convert(SHELL + "+ 500 setuid uid=0 res=-EPERM")
    assert {p["uid"] for p in done.of("Process")} == {0, 33}
    assert done.events() == [(500, 500, "SETUID", -1)]


@pytest.mark.parametrize(
    ("call", "field", "state"),
    [
        ("setreuid ruid=4294967295 euid=1000", "uid", "MODIFIED"),
        ("setregid rgid=4294967295 egid=1000", "gid", "MODIFIED"),
        ("setreuid ruid=1000 euid=4294967295", "uid", None),
    ],
)
def test_setreuid_and_setregid_are_no_records_but_what_follows_has_the_new_ids(
    convert: Convert, call: str, field: str, state: str | None
) -> None:
    done = convert(SHELL + MKDIR.format("/x") + f"+ 500 {call} res=0\n" + MKDIR.format("/y"))
    assert done.of("ProcessEvent") == []
    before = [p for p in done.of("Process") if p["oid"]["hpid"] == 500]
    if state is None:
        assert len(before) == 1
    else:
        assert [p[field] for p in before] == [33, 1000]
        assert before[-1]["state"] == state
    assert done.order[-1] == "FileEvent"


def test_users_by_event(convert: Convert) -> None:
    """A user who was added after the recording began; deleted, it has no name any more."""
    text = SHELL + (
        "+ -1 useradded uid=77 gid=77 name=late home=/ shell=/bin/sh\n+ 500 setuid uid=77 res=0\n"
        "+ -1 userdeleted uid=77 gid=77 name=late home=/ shell=/bin/sh\n+ 500 setuid uid=0 res=0\n"
        "+ 500 setuid uid=77 res=0\n"
    )
    done = convert(text)
    assert [e["args"] for e in done.of("ProcessEvent")] == [["late"], ["<NA>"], ["<NA>"]]
    assert [p["userName"] for p in done.of("Process")][-3:] == ["late", "root", "<NA>"]


def test_users_of_a_container_are_its_own(convert: Convert) -> None:
    text = CONTAINER + INSIDE + (
        "+ -1 useradded uid=77 gid=77 name=inside home=/ shell=/x container_id=0123456789ab\n"
        "+ 1 setuid uid=77 res=0\n+ 700 setuid uid=77 res=0\n"
    )  # fmt: skip
    assert [e["args"] for e in convert(text).of("ProcessEvent")] == [["<NA>"], ["inside"]]


@pytest.mark.parametrize("uid", [0xFFFFFFFF, 2**31, 2**31 - 1])
def test_uids_of_any_size(convert: Convert, uid: int) -> None:
    """The schema's int is signed."""
    text = f"process 500 comm=sh exe=/sh uid={uid} gid={uid}\n" + MKDIR.format("/x")
    process = convert(text).one("Process")
    assert process["uid"] & 0xFFFFFFFF == process["gid"] & 0xFFFFFFFF == uid


def test_64_kb_of_arguments(convert: Convert) -> None:
    def write(writer: ScapWriter) -> None:
        args = b"\0".join([b"x" * 99] * 650) + b"\0"
        writer.process_list(
            [{"tid": 500, "pid": 500, "ptid": 1, "vtid": 500, "vpid": 500, "exe": "/a", "args": args, "env": args}]
        )
        writer.event(SECOND, 500, "PPME_SYSCALL_MKDIR_2_X", (0, "/x"))

    process = convert(capture(write)).one("Process")
    assert process["exeArgs"] == " ".join(["x" * 99] * 650)
    assert process["env"] == ["x" * 99] * 650


def test_arguments_of_any_bytes(convert: Convert) -> None:
    text = 'process 500 comm=sh exe="/\\xff" args="\\x80\\xfe caf\\xe9" cwd="/\\xed\\xa0\\x80"\n' + MKDIR.format(
        '"/\\xff\\n"'
    )
    done = convert(text)
    process = done.one("Process")
    assert process["exe"] == "/\uefff"
    assert process["exeArgs"] == "\uef80\ueffe caf\uefe9"
    assert done.file_events() == [("MKDIR", "/\uefff\n")]


# Files


def test_a_files_oid_is_of_container_and_path(convert: Convert) -> None:
    done = convert(CONTAINER + INSIDE + "+ 1 mkdir path=/x mode=0 res=0\n+ 700 mkdir path=/x mode=0 res=0")
    assert [(f["oid"], f["containerId"]) for f in done.of("File")] == [
        (hashlib.sha1(b"/x").digest(), None),
        (hashlib.sha1(b"0123456789ab/x").digest(), "0123456789ab"),
    ]


def test_a_file_is_created_or_was_there(convert: Convert) -> None:
    done = convert(
        SHELL + MKDIR.format("/new") + "+ 500 link oldpath=/old newpath=/link res=0\n+ 500 unlink path=/gone res=0"
    )
    assert [(f["path"], f["state"], chr(f["restype"])) for f in done.of("File")] == [
        ("/new", "CREATED", "d"), ("/old", "REUP", "?"), ("/link", "CREATED", "?"), ("/gone", "CREATED", "?"),
    ]  # fmt: skip


def test_a_file_is_written_once(convert: Convert) -> None:
    assert len(convert(SHELL + MKDIR.format("/x") * 20).of("File")) == 1


def test_files_are_forgotten_and_written_again(convert: Convert, needs_compiled: None) -> None:
    """Memory does not grow with what was ever seen; a file with an open flow stays."""

    def write(writer: ScapWriter) -> None:
        writer.process_list([{"tid": 500, "pid": 500, "ptid": 1, "vtid": 500, "vpid": 500, "exe": "/a"}])
        writer.event(SECOND, 500, "PPME_SYSCALL_OPENAT_2_X", (3, -100, "/open", 3, 0, 0, 0))
        for i in range(MAX_FILES + 4000):
            writer.event(SECOND, 500, "PPME_SYSCALL_MKDIR_2_X", (0, f"/{i}"))
        writer.event(SECOND, 500, "PPME_SYSCALL_MKDIR_2_X", (0, "/0"))
        writer.event(SECOND, 500, "PPME_SYSCALL_CLOSE_X", (0, 3))

    done = convert(capture(write), decoded=False)
    assert done.counts["File"] == MAX_FILES + 4000 + 2
    assert done.counts["FileFlow"] == 1


# Containers


def test_a_container_known_by_its_cgroup_only(convert: Convert) -> None:
    done = convert(CONTAINER + INSIDE + "+ 700 mkdir path=/x mode=0 res=0")
    container = done.one("Container")
    assert container == {
        "id": "0123456789ab", "name": "", "image": ":", "imageid": "", "type": "CT_DOCKER", "privileged": False,
        "podId": None,
    }  # fmt: skip
    assert done.of("Process")[-1]["containerId"] == "0123456789ab"
    assert done.of("Process")[0]["containerId"] is None
    assert done.self_contained()


def test_metadata_that_comes_first(convert: Convert) -> None:
    done = convert(CONTAINER + INSIDE + "+ -1 container web\n+ 700 mkdir path=/x mode=0 res=0")
    container = done.one("Container")
    assert (container["name"], container["image"], container["imageid"]) == ("web", "nginx:1.25", "ff00")


def test_metadata_that_comes_late_is_written_at_once(convert: Convert) -> None:
    done = convert(
        CONTAINER + INSIDE + "+ 700 mkdir path=/x mode=0 res=0\n+ -1 container web\n+ 700 mkdir path=/x mode=0 res=0"
    )
    assert [c["name"] for c in done.of("Container")] == ["", "web"]
    assert done.order[-3:] == ["FileEvent", "Container", "FileEvent"]


def test_a_container_that_nobody_uses_is_not_written(convert: Convert) -> None:
    assert convert(CONTAINER + INSIDE + "+ -1 container web\n+ 1 mkdir path=/x mode=0 res=0").of("Container") == []


def test_labels_make_a_pod_before_its_container(convert: Convert) -> None:
    done = convert("host node-7\n" + POD + INSIDE + "+ -1 container web\n+ 700 mkdir path=/x mode=0 res=0")
    pod = done.one("Pod")
    assert (pod["id"], pod["name"], pod["namespace"], pod["nodeName"]) == ("uid-1", "web-0", "prod", "node-7")
    assert pod["labels"]["app"] == "web"
    assert pod["internalIP"] == [0x0700000A]
    assert done.one("Container")["podId"] == "uid-1"
    assert done.order.index("Pod") < done.order.index("Container")
    assert done.self_contained()


def test_a_pod_that_is_known_late(convert: Convert) -> None:
    done = convert(POD + INSIDE + "+ 700 mkdir path=/x mode=0 res=0\n+ -1 container web\n")
    assert [c["podId"] for c in done.of("Container")] == [None, "uid-1"]
    assert len(done.of("Pod")) == 1
    assert done.self_contained()


def test_two_containers_of_a_pod(convert: Convert) -> None:
    """One Pod for both would do, two do no harm: every podId has been written before."""
    other = POD.replace("container web", "container side").replace(ID, "f" * 64)
    text = (
        POD
        + other
        + INSIDE
        + "process 701 parent=1 comm=s exe=/s container=side\n+ -1 container web\n+ -1 container side\n"
    )
    done = convert(text + "+ 700 mkdir path=/x mode=0 res=0\n+ 701 mkdir path=/x mode=0 res=0")
    assert {c["podId"] for c in done.of("Container")} == {"uid-1"}
    assert done.self_contained()


def test_a_process_moves_into_a_container_by_exec(convert: Convert) -> None:
    done = convert(
        CONTAINER
        + SHELL
        + MKDIR.format("/x")
        + "+ 500 execve filename=/bin/d exe=d container=web\n"
        + MKDIR.format("/x")
    )
    assert [p["containerId"] for p in done.of("Process")] == [None, None, "0123456789ab"]
    assert [f["containerId"] for f in done.of("File")] == [None, "0123456789ab"]


def test_the_old_container_event(convert: Convert) -> None:
    text = (
        CONTAINER
        + INSIDE
        + "+ -1 CONTAINER id=0123456789ab type=0 name=old image=alpine\n+ 700 mkdir path=/x mode=0 res=0"
    )
    assert [(c["name"], c["image"]) for c in convert(text).of("Container")] == [("old", "alpine:")]


@pytest.mark.parametrize(
    "doc",
    [
        '"{"',
        '"[]"',
        '"\\xff\\xfe"',
        "fill:60000",
        "none",
        '"{\\"container\\":{\\"id\\":\\"0123456789ab\\",\\"name\\":3}}"',
    ],
)
def test_hostile_metadata_does_no_harm(convert: Convert, doc: str) -> None:
    done = convert(CONTAINER + INSIDE + f"+ -1 CONTAINER_JSON json={doc}\n+ 700 mkdir path=/x mode=0 res=0")
    assert done.one("Container")["name"] == ""
    assert done.self_contained()


def test_containers_that_no_thread_is_in_are_bounded(convert: Convert) -> None:
    """A container that lives long is known to its end, with its metadata, however many others come and go."""
    others = "".join(
        f'+ -1 CONTAINER_JSON json="{{\\"container\\":{{\\"id\\":\\"{i:012x}\\",\\"name\\":\\"c{i}\\"}}}}"\n'
        for i in range(3 * MAX_CONTAINERS)
    )
    text = CONTAINER + INSIDE + "+ -1 container web\n" + others + "+ 700 clone child=900 flags=0\n"
    done = convert(text + "+ 900 mkdir path=/x mode=0 res=0", look=lambda engine: len(engine.entities.containers))
    assert done.seen <= MAX_CONTAINERS
    assert [container["name"] for container in done.of("Container")] == ["web"]
    assert done.self_contained()


def test_containers_that_threads_are_in_are_all_known(convert: Convert) -> None:
    number = MAX_CONTAINERS + 300

    def write(writer: ScapWriter) -> None:
        rows = [
            {"tid": tid, "pid": tid, "ptid": 0, "vtid": tid, "vpid": 1, "cgroups": b"cpu=/lxc/c%d\0" % tid}
            for tid in range(1, number + 1)
        ]
        writer.process_list(rows)
        for _ in range(2):
            for tid in range(1, number + 1):
                writer.event(SECOND, tid, "PPME_SYSCALL_MKDIR_2_X", (0, "/x"))

    done = convert(capture(write), look=lambda engine: len(engine.entities.containers))
    assert done.seen == number
    assert len(done.of("Container")) == len({c["id"] for c in done.of("Container")}) == number
    assert done.self_contained()


# Several files


def test_every_file_of_a_rotation_is_self_contained(convert: Convert) -> None:
    text = (
        POD
        + INSIDE
        + "fd 700 3 file /srv/log flags=O_WRONLY\nfd 700 4 tcp 10.0.0.1:1->10.0.0.2:2\n+ -1 container web\n"
        + "".join(
            f"+7s 700 write fd=3 size=1 res=1 data=x\n+ 700 write fd=4 size=1 res=1 data=x\n"
            f"+ 1 mkdir path=/{i} mode=0 res=0\n"
            f"+ 700 clone child={800 + i} flags=0\n+1s {800 + i} procexit ret=0\n"
            for i in range(30)
        )
    )
    for seconds in (1, 10, 45, 100):
        done = convert(text, rotate_seconds=seconds)
        assert len(done.files) > 2
        assert done.self_contained()
        assert {name for name, _ in done.files[-1]} >= {"SFHeader", "Pod", "Container", "Process", "File", "FileFlow"}
        assert len(done.rotated) == len(done.files) - 1


def test_rotation_is_by_capture_time_and_makes_no_empty_files(convert: Convert) -> None:
    done = convert(
        SHELL + "=1000000000000 500 mkdir path=/a mode=0 res=0\n=5000000000000 500 mkdir path=/b mode=0 res=0",
        rotate_seconds=60,
    )
    assert len(done.files) == 2
    assert done.rotated[0] // SECOND == 5000
    assert (done.rotated[0] - 1000 * SECOND) // SECOND % 20 == 0


def test_no_rotation_without_being_asked(convert: Convert) -> None:
    assert len(convert(SHELL + MKDIR.format("/a") + "+50m " + MKDIR.format("/b")[2:]).files) == 1


def test_entities_return_as_reup(convert: Convert) -> None:
    done = convert(SHELL + MKDIR.format("/a") + "+100s " + MKDIR.format("/a")[2:], rotate_seconds=60)
    first, second = done.files
    assert [fields["state"] for name, fields in second if name == "File"] == ["REUP"]
    assert [fields["oid"] for name, fields in first if name == "File"] == [
        fields["oid"] for name, fields in second if name == "File"
    ]


def test_a_clock_that_leaps_and_returns_does_not_stop_the_rotation(convert: Convert) -> None:
    """One absurd timestamp in the middle."""
    text = (
        SHELL
        + "=1000000000000 500 mkdir path=/a mode=0 res=0\n=9000000000000000000 500 mkdir path=/b mode=0 res=0\n"
        + "".join(f"={1000 + 100 * i}000000000 500 mkdir path=/{i} mode=0 res=0\n" for i in range(1, 8))
    )
    done = convert(text, rotate_seconds=60)
    assert len(done.files) >= 6
    assert done.self_contained()


def capture(write: Callable[[ScapWriter], object]) -> bytes:
    out = io.BytesIO()
    writer = ScapWriter(out)
    writer.section()
    write(writer)
    return out.getvalue()


# What another review found


def test_a_parent_is_in_every_file_of_a_rotation_that_names_it(convert: Convert) -> None:
    done = convert(
        "process 1 comm=init exe=/sbin/init\nprocess 400 parent=1 comm=p exe=/bin/parent\n"
        "process 500 parent=400 comm=a exe=/bin/a\nprocess 900 comm=z exe=/bin/z\n"
        'fd 500 3 file /srv/in.txt flags=O_RDWR\n+ 500 write fd=3 size=1 res=1 data="1"\n'
        "+21s 900 mkdir path=/x mode=0 res=0\n+10s 900 mkdir path=/x mode=0 res=0\n"
        '+1s 500 write fd=3 size=1 res=1 data="1"\n+1s 500 close fd=3 res=0',
        rotate_seconds=20,
    )
    assert len(done.files) == 2
    for file in done.files:
        processes = [fields for name, fields in file if name == "Process"]
        known = [process["oid"] for process in processes]
        assert all(process["poid"] is None or process["poid"] in known for process in processes)


@pytest.mark.parametrize("change", ["execve filename=/usr/bin/evil exe=evil", "setuid uid=0 res=0"])
def test_what_a_filter_leaves_out_still_changes_the_process(convert: Convert, change: str) -> None:
    done = convert(
        "user 0 root\nprocess 1 comm=init exe=/sbin/init\nprocess 500 parent=1 comm=sh exe=/bin/sh uid=33\n"
        f"+ 500 openat dirfd=AT_FDCWD name=/a flags=O_RDONLY fd=5 mode=0\n+ 500 {change}\n"
        "+ 500 openat dirfd=AT_FDCWD name=/etc/shadow flags=O_RDONLY fd=6 mode=0\n+ 500 clone child=600 flags=0\n"
        "+ 600 openat dirfd=AT_FDCWD name=/b flags=O_RDONLY fd=7 mode=0",
        predicate=compile_filter("evt.type = openat"),
    )
    assert [name for name in done.order if "Event" in name] == []
    before, after = (process for process in done.of("Process") if process["oid"]["hpid"] == 500)
    assert after["state"] == "MODIFIED"
    assert (before["exe"], before["uid"]) == ("/bin/sh", 33)
    assert (after["exe"], after["uid"]) == (("/usr/bin/evil", 33) if "exec" in change else ("/bin/sh", 0))
    at = [i for i, (name, fields) in enumerate(done.records) if name == "File" and fields["path"] == "/etc/shadow"]
    assert done.records[at[0] - 1][1] == after


def test_exited_processes_take_bounded_memory(convert: Convert) -> None:
    """Each with an environment of its own; they are remembered for a second."""
    text = "process 1 comm=init exe=/sbin/init\n" + "".join(
        f'+ 1 clone child={1000 + i} flags=0\n+ {1000 + i} execve filename=/x exe=x env="A={i}{"x" * 60_000}"\n'
        f"+ {1000 + i} procexit ret=0\n"
        for i in range(150)
    )
    done = convert(text * 3, look=lambda engine: engine.entities.exited_bytes)
    assert 0 < done.seen <= MAX_EXITED_BYTES


def test_a_process_that_exits_again_is_counted_once(convert: Convert) -> None:
    """An exec brings a main thread back to life; its arguments are others then."""
    clock = iter(range(SECOND, 2 * SECOND))

    def write(writer: ScapWriter, times: int, end: int = 0) -> None:
        def clone(tid: int, flags: int) -> None:
            params = (0, b"a", b"", tid, 500, 1, b"", 0, 0, 0, 0, 0, 0, b"a", b"", flags, 0, 0, tid, 500, 0)
            writer.event(next(clock), tid, "PPME_SYSCALL_CLONE_20_X", params)

        def execve(args: bytes) -> None:
            params = (0, b"/x", args, 500, 500, 1, b"", 0, 0, 0, 0, 0, 0, b"x")
            writer.event(next(clock), 500, "PPME_SYSCALL_EXECVE_19_X", params)

        clone(500, 0)
        for _ in range(times):
            execve(b"a" * 5000)
            clone(501, tables.PPM_CL_CLONE_THREAD)
            writer.event(next(clock), 500, "PPME_PROCEXIT_1_E", (0, 0, 0, 0, 0))
        execve(b"")
        if end:
            writer.event(end, 500, "PPME_SYSCALL_MKDIR_2_X", (0, "/x"))

    def exited(engine: Any) -> int:
        found: int = engine.entities.exited_bytes
        return found

    assert 5000 < convert(capture(lambda writer: write(writer, 2)), look=exited).seen < 10_000
    # Seconds later nobody waits any more.
    assert convert(capture(lambda writer: write(writer, 1, SECOND * 5)), look=exited).seen == 0


def test_a_clock_that_goes_back_and_forth_does_not_make_a_file_each_time(convert: Convert) -> None:
    leap = "=1000000000000000000 500 mkdir path=/a mode=0 res=0\n=1000000000 500 mkdir path=/b mode=0 res=0\n"
    text = SHELL + leap * 300
    done = convert(text, rotate_seconds=1)
    assert 2 < len(done.files) <= MAX_CLOCK_RETURNS + 2
    assert done.self_contained()


def test_an_interval_that_is_longer_than_time(convert: Convert) -> None:
    text = SHELL + MKDIR.format("/a") + "+20s " + MKDIR.format("/b")[2:]
    assert len(convert(text, rotate_seconds=2**62).files) == 1
