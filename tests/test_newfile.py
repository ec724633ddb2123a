"""New files: never over something, never under their name before they are complete."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import stat
import threading

import pytest

from sftools import newfile
from sftools.errors import OutputError
from sftools.newfile import NewFile, Patience, check, is_temporary, temporary_name, write_all


def new(path, force=False):
    file = NewFile(str(path), force)
    file.open()
    return file


def test_temporary_names_are_told_from_traces(tmp_path):
    name = temporary_name(str(tmp_path / "x.sf"))
    assert os.path.dirname(name) == str(tmp_path)
    assert is_temporary(os.path.basename(name))
    assert not name.endswith(".sf")
    assert name != temporary_name(str(tmp_path / "x.sf"))
    for other in ("x.sf", ".x.sf", "x.tmp", ".x.tmp", ".x.12.tmp", "x.12.0123abcd.tmp"):
        assert not is_temporary(other)


def test_longest_names_have_a_temporary_one(tmp_path):
    path = tmp_path / ("x" * 252 + ".sf")
    file = new(path)
    file.commit()
    assert path.exists()


def test_file_has_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        file = new(tmp_path / "x.sf")
        file.commit()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.sf").stat().st_mode) == 0o640


def test_abandoned_file_leaves_nothing(tmp_path):
    file = new(tmp_path / "x.sf")
    file.write(b"half")
    file.abandon()
    file.abandon()
    assert os.listdir(tmp_path) == []


def test_what_an_abandoned_stream_still_has_goes_nowhere(tmp_path):
    """Not to another file that gets its number, when the stream is collected."""
    file = new(tmp_path / "x.sf")
    stream = file.stream()
    stream.write(b"half")
    number = stream.fileno()
    file.abandon()
    with (tmp_path / "other").open("wb") as other:
        assert other.fileno() == number
        del stream, file
        gc.collect()
    assert (tmp_path / "other").read_bytes() == b""


def test_existing_file_is_refused_and_kept(tmp_path):
    path = tmp_path / "x.sf"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"x\.sf: exists already$"):
        new(path)
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["x.sf"]


def test_file_that_came_in_the_meantime_is_kept(tmp_path):
    path = tmp_path / "x.sf"
    file = new(path)
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        file.commit()
    file.abandon()
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["x.sf"]


@pytest.mark.parametrize("there", [False, True])
def test_file_systems_without_links(tmp_path, monkeypatch, there):
    def no_link(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    path = tmp_path / "x.sf"
    file = new(path)
    if there:
        path.write_bytes(b"mine")
        with pytest.raises(OutputError, match="exists already"):
            file.commit()
        file.abandon()
        assert path.read_bytes() == b"mine"
    else:
        file.commit()
    assert os.listdir(tmp_path) == ["x.sf"]


def test_force_replaces_at_the_end(tmp_path):
    path = tmp_path / "x.sf"
    path.write_bytes(b"mine")
    file = new(path, force=True)
    file.write(b"new")
    assert path.read_bytes() == b"mine"
    file.commit()
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["x.sf"]


def test_force_replaces_what_a_link_points_at(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.sf").write_bytes(b"mine")
    (tmp_path / "x.sf").symlink_to("real/x.sf")
    file = new(tmp_path / "x.sf", force=True)
    file.write(b"new")
    file.commit()
    assert (tmp_path / "x.sf").is_symlink()
    assert (tmp_path / "real" / "x.sf").read_bytes() == b"new"


def test_link_to_nothing_is_something(tmp_path):
    (tmp_path / "x.sf").symlink_to("nowhere")
    with pytest.raises(OutputError, match="exists already"):
        new(tmp_path / "x.sf")


def test_device_is_written_to_as_it_is():
    file = new("/dev/null")
    file.write(b"half")
    file.commit()
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/", "/: is a directory"),
        ("/nonexistent/x.sf", "/nonexistent/x.sf: there is no directory /nonexistent"),
        ("/proc/x.sf", "/proc/x.sf: cannot be written: No such file or directory"),
        ("/dev/full", "/dev/full: cannot be written: No space left on device"),
    ],
)
def test_what_cannot_be_written(path, message):
    with pytest.raises(OutputError) as caught:
        new(path).write(b"x")
    assert str(caught.value) == message


def test_what_will_not_do_is_said_before_the_work(tmp_path):
    path = tmp_path / "x.sf"
    check(str(path), force=False)
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        check(str(path), force=False)
    check(str(path), force=True)
    (tmp_path / "same").hardlink_to(path)
    with pytest.raises(OutputError, match="is also an input"):
        check(str(path), force=True, inputs=[str(tmp_path / "same")])


# -- readers that do not read


@pytest.fixture
def full(monkeypatch):
    """A pipe that takes nothing more, and no seconds of patience."""
    monkeypatch.setattr(newfile, "_PATIENCE_SECONDS", 0)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


def test_after_the_end_a_reader_that_does_not_read_is_given_up(full):
    patience = Patience()
    patience.end()
    with pytest.raises(OutputError, match="out: its reader does not read, and what there is for it is given up"):
        write_all(full, b"x", "out", patience)


def test_so_is_one_that_does_not_for_as_long_as_everything_is_to_take(full):
    with pytest.raises(OutputError, match="its reader does not read"):
        write_all(full, b"x", "out", Patience(duration=0.01))


def test_before_the_end_a_reader_is_waited_for(full):
    patience = Patience()
    looks = iter([False, False, True])
    patience.wait(lambda: next(looks), "out", "")
    assert list(looks) == []


def test_a_fifo_that_nobody_opens_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(newfile, "_PATIENCE_SECONDS", 0)
    os.mkfifo(tmp_path / "fifo")
    patience = Patience()
    patience.end()
    file = NewFile(str(tmp_path / "fifo"), False, patience=patience)
    with pytest.raises(OutputError, match="nobody opens it for reading"):
        file.open()


def test_what_a_patient_writer_writes_is_all_there(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    data = os.urandom(300_000)
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    file = NewFile(str(tmp_path / "fifo"), False, patience=Patience())
    file.open()
    file.write(data)
    file.commit()
    reader.join()
    assert got == [data]


@pytest.mark.parametrize("call", ["fsync", "close", "link", "unlink"])
def test_ended_by_a_signal_while_it_is_completed(call, tmp_path, monkeypatch):
    """Its handler raises when the call has done its work."""
    file = new(tmp_path / "x")
    file.write(b"data")
    done = getattr(os, call)

    def interrupted(*arguments):
        monkeypatch.undo()
        done(*arguments)
        raise SystemExit

    monkeypatch.setattr(os, call, interrupted)
    with pytest.raises(SystemExit):
        file.commit()
    fd = os.open(os.devnull, os.O_RDONLY)
    file.abandon()
    os.close(fd)
    assert os.listdir(tmp_path) == (["x"] if "link" in call else [])


def test_after_the_commit_of_a_device_nothing_is_left_to_close():
    """Its number may belong to somebody else then."""
    file = new(os.devnull)
    file.write(b"data")
    file.commit()
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    file.abandon()
    for fd in fds:
        os.close(fd)
