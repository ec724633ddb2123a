"""Loading the eBPF programs: settings as they read them, and what is said where a host cannot run them."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sftools.errors import CaptureError, UsageError
from sftools.live import loader
from sftools.live.loader import Probe, ProbeOptions, check_host, settings
from sftools.scap import tables
from tests.live.conftest import eventually

V1 = Path("/sys/fs/cgroup")


def unpacked(options: ProbeOptions) -> tuple[int, ...]:
    return struct.unpack("<Q8Q8QQ4I4B4x", settings(options, 1_000, 42))


def test_settings_have_the_layout_of_the_programs() -> None:
    numbers = unpacked(ProbeOptions(snaplen=200, buffer=1 << 20))
    assert numbers[0] == 1_000
    assert numbers[18:22] == (42, 200, (1 << 20) // 8, 0)
    assert numbers[22:] == (0, 1, 0, 0)


def test_all_events_are_recorded_unless_some_are_named() -> None:
    assert bin(sum(n << 64 * i for i, n in enumerate(unpacked(ProbeOptions())[1:9]))).count("1") == len(
        tables.EVENT_CODES
    )
    named = unpacked(ProbeOptions(events=frozenset({tables.PPME_SYSCALL_OPEN_X, tables.PPME_SYSCALL_CLOSE_RANGE_X})))
    assert sum(n << 64 * i for i, n in enumerate(named[1:9])) == 1 << 3 | 1 << 451


def test_what_is_sampled_is_recorded_in_a_part_of_each_second() -> None:
    assert unpacked(ProbeOptions())[9:18] == (0,) * 9
    numbers = unpacked(ProbeOptions(sampled=frozenset({tables.PPME_SYSCALL_OPEN_X}), sampling_ratio=8))
    assert numbers[9:18] == (1 << 3, 0, 0, 0, 0, 0, 0, 0, 125_000_000)


def test_each_filter_has_its_switch() -> None:
    options = ProbeOptions(
        pids=frozenset({1}), follow=False, comms=frozenset({b"x"}), cgroups=frozenset({V1 / "pids/a"})
    )
    numbers = unpacked(options)
    assert numbers[21:] == (2, 1, 0, 1, 1)


def test_the_capturing_process_is_left_out_unless_asked_for() -> None:
    assert unpacked(ProbeOptions(include_self=True))[18] == 0


@pytest.mark.parametrize(("asked", "got"), [(4096, 4096), (4097, 8192), (5 << 20, 8 << 20), (32 << 20, 32 << 20)])
def test_a_ring_is_a_power_of_two(asked: int, got: int) -> None:
    assert ProbeOptions(buffer=asked).ring_bytes == max(got, os.sysconf("SC_PAGE_SIZE"))


@pytest.mark.parametrize("options", [{"snaplen": -1}, {"snaplen": 65536}, {"buffer": 4095}, {"buffer": (1 << 30) + 1}])
def test_sizes_that_cannot_be_are_usage_errors(options: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        ProbeOptions(**options)  # type: ignore[arg-type]


def test_an_event_that_does_not_exist_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="454"):
        settings(ProbeOptions(events=frozenset({454})), 0, 0)


def test_a_cgroup_that_is_not_there_is_not_taken_for_one_of_version_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is named when it is looked up."""
    monkeypatch.setattr(loader, "_CGROUP_ROOT", tmp_path)
    settings(ProbeOptions(cgroups=frozenset({tmp_path / "none"})), 0, 0)
    (tmp_path / "cpu" / "a").mkdir(parents=True)
    with pytest.raises(UsageError, match="of version 1's hierarchies only memory and pids"):
        settings(ProbeOptions(cgroups=frozenset({tmp_path / "cpu" / "a"})), 0, 0)


def test_cgroups_of_two_hierarchies_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="hierarchies"):
        settings(ProbeOptions(cgroups=frozenset({V1 / "memory/a", V1 / "unified/b"})), 0, 0)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("system", "Darwin", "needs Linux; this is Darwin"),
        ("machine", "aarch64", "x86-64 only"),
        ("release", "5.7.19-amd64", "kernel 5.8 or newer; this is 5.7.19-amd64"),
    ],
)
def test_a_host_that_cannot_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, name, lambda: value)
    with pytest.raises(CaptureError, match=said):
        check_host()


@pytest.mark.parametrize(("part", "said"), [("BTF", "CONFIG_DEBUG_INFO_BTF"), ("PROBE", "make probe")])
def test_a_missing_part_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str, said: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-13-amd64")
    there = tmp_path / "there"
    there.touch()
    monkeypatch.setattr(loader, "BTF", there)
    monkeypatch.setattr(loader, "PROBE", there)
    monkeypatch.setattr(loader, part, tmp_path / "missing")
    with pytest.raises(CaptureError, match=said):
        check_host()


def test_a_pid_namespace_of_its_own_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Events have the host's pids, which /proc in a container does not know."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "release", lambda: "6.1.0-13-amd64")
    monkeypatch.setattr(loader, "BTF", tmp_path)
    monkeypatch.setattr(loader, "PROBE", tmp_path)
    if not Path("/proc/self/ns/pid").exists():
        pytest.skip("no pid namespaces")
    monkeypatch.setattr(loader, "_HOST_PID_NAMESPACE", os.stat("/proc/self/ns/pid").st_ino)
    check_host()
    monkeypatch.setattr(loader, "_HOST_PID_NAMESPACE", 1)
    with pytest.raises(CaptureError, match=r"--pid=host \(hostPID\)"):
        check_host()


def test_a_missing_libbpf_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise OSError("libbpf.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(CaptureError, match="apt-get install libbpf1"):
        loader._libbpf()


def test_a_refusal_says_what_the_verifier_said() -> None:
    log = [
        "5: (85) call bpf_loop#181",
        "R1 type=scalar expected=fp",
        "processed 6 insns",
        "libbpf: prog 'exec': failed: -22",
    ]
    said = loader._refusal(errno.EINVAL, log)
    assert said.endswith(": Invalid argument (R1 type=scalar expected=fp)")
    assert loader._refusal(errno.EINVAL, log[3:]).endswith("(prog 'exec': failed: -22)")
    begin = ["libbpf: prog 'exec': -- BEGIN PROG LOAD LOG --", "processed 6 insns"]
    assert loader._refusal(errno.EINVAL, begin + log[3:]).endswith("(prog 'exec': failed: -22)")
    assert loader._refusal(errno.EINVAL, []).endswith(": Invalid argument")


def test_too_few_open_files_are_named() -> None:
    assert "ulimit -n" in loader._refusal(errno.EMFILE, [])


def test_too_large_a_ring_is_named() -> None:
    assert "smaller" in loader._refusal(errno.ENOMEM, [])


# -- with the kernel


def test_the_programs_load_attach_and_count(permitted: None) -> None:
    with Probe(ProbeOptions()) as probe:
        probe.attach()
        counted = probe.statistics()
    assert set(counted) == {
        "ring_full",
        "too_large",
        "unread",
        "compat",
        "sampled_out",
        "unfollowed",
        "truncated",
        "missed",
    }
    assert probe.statistics().keys() == counted.keys()


def test_a_file_that_is_no_program_is_named(permitted: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "sysflow.bpf.o"
    broken.write_bytes(loader.PROBE.read_bytes()[:100_000])
    monkeypatch.setattr(loader, "PROBE", broken)
    with pytest.raises(CaptureError, match=r"^sysflow.bpf.o is damaged; run `make probe` again$"):
        Probe(ProbeOptions())


def test_a_user_without_the_capabilities_is_told_which(permitted: None) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    script = (
        "import os; from sftools.live.loader import *; os.setgroups([]); os.setuid(65534)\n"
        "try: Probe(ProbeOptions())\nexcept CaptureError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "CAP_BPF and CAP_PERFMON" in said


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_programs_load_comes_after_that(
    number: int, permitted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not within libbpf's call of our logging, where an exception is swallowed; what was loaded goes."""

    class Interrupt(Exception):
        pass

    def handle(*_: object) -> None:
        raise Interrupt

    library = loader._libbpf()
    real = library.bpf_object__load
    loaded: list[int] = []

    def load(program: int) -> int:
        signal.pthread_kill(threading.get_ident(), number)
        loaded.append(real(program))
        return loaded[-1]

    library.bpf_object__load = load
    monkeypatch.setattr(loader, "_libbpf", lambda: library)
    before = signal.signal(number, handle)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert own_ebpf() == []
    try:
        with pytest.raises(Interrupt):
            Probe(ProbeOptions())
    finally:
        signal.signal(number, before)
    assert loaded == [0]
    assert own_ebpf() == []
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == masked


def own_ebpf() -> list[str]:
    """The eBPF programs, maps and so on that this process has; other threads may open and close other files."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [link for link in found if link.startswith(("anon_inode:bpf", "anon_inode:btf"))]


def test_a_cgroup_that_does_not_exist_is_named(permitted: None) -> None:
    with pytest.raises(CaptureError, match="/sys/fs/cgroup/pids/none is no cgroup"):
        Probe(ProbeOptions(cgroups=frozenset({V1 / "pids" / "none"})))


def test_a_killed_process_leaves_no_program(permitted: None) -> None:
    """The programs go with the last descriptor of them, which only the process has."""
    script = (
        "import sys, re; from pathlib import Path; from sftools.live.loader import *\n"
        "probe = Probe(ProbeOptions()); probe.attach()\n"
        "fd = probe._library.bpf_program__fd(probe._program('sys_exit'))\n"
        "print(re.search(r'prog_id:\\s*(\\d+)', Path(f'/proc/self/fdinfo/{fd}').read_text())[1], flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        number = int(child.stdout.readline())
        assert _exists(number)
        child.kill()
    # The kernel frees it when no CPU can be in it any more, which takes the longer the busier they are.
    eventually(lambda: not _exists(number))


def _exists(number: int) -> bool:
    fd: int = loader._libbpf().bpf_prog_get_fd_by_id(number)
    if fd < 0:
        return False
    os.close(fd)
    return True
