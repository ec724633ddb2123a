"""A directory as a store: a file gets its name when it is complete and on the disk, and replaces none unasked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence

from sftools.limits import MAX_EXPORT_DIRECTORIES
from sftools.newfile import make_directories
from sftools.store.objects import Condition, Denied, NoUpload, ObjectInfo, Part, StoreError, Taken, Unavailable

# Waiting helps against these; anything else lies in the file or its name.
_LATER = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT, errno.ESTALE, errno.EACCES, errno.EPERM)
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV)


class DirectoryStore:
    """sftools.store.objects.Store over a directory; keys are paths below it. Metadata is not kept.

    Unfinished files lie in `root`/.sf-exporter-parts. An object's ETag is its file's inode, size and time.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.place = f"directory {self.root}"
        self.conditions: bool | None = True
        self.quoted = True
        self.keeps_meta = False
        self._parts = os.path.join(self.root, ".sf-exporter-parts")
        self._made: set[str] = set()

    def renew(self) -> None:
        """A directory has no credentials."""

    def check(self) -> None:
        with self._errors():
            try:
                make_directories(self._parts)
                allowed = os.access(self._parts, os.W_OK | os.X_OK)
            except PermissionError:
                allowed = False
            if not allowed:
                raise Denied(f"{self.place}: files arrive there only with write and search permission")

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with self._errors():
                try:
                    found = os.lstat(self._path(key))
                except (FileNotFoundError, NotADirectoryError):
                    return None
                if not stat.S_ISREG(found.st_mode):
                    return ObjectInfo(-1, "no file")
                return ObjectInfo(found.st_size, _etag(found))
        except UnicodeError:
            return None

    def sha256(self, key: str) -> str:
        with self._errors(), open(self._path(key), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def put(self, key: str, part: Part, meta: Mapping[str, str], condition: Condition | None) -> None:
        """The unfinished file has a name made of the key, so that one that a killed process left is used again."""
        upload = _upload_name(key) + "-whole"
        path = self._part(upload)
        with self._errors():
            make_directories(self._parts)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise Unavailable(f"{self.place}: somebody else writes {key}") from None
                if not os.path.exists(path) or not os.path.samestat(os.fstat(fd), os.stat(path)):
                    raise Unavailable(f"{self.place}: somebody else has written {key}")
                os.ftruncate(fd, 0)
                self._write(fd, key, part)
                self.complete(key, upload, (), condition)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(path)
                raise
            finally:
                os.close(fd)

    def begin(self, key: str, meta: Mapping[str, str]) -> str:
        upload = _upload_name(key) + "-" + os.urandom(8).hex()
        with self._errors():
            make_directories(self._parts)
            os.close(os.open(self._part(upload), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        return upload

    def put_part(self, key: str, upload: str, part: Part) -> str:
        with self._errors():
            try:
                fd = os.open(self._part(upload), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                raise NoUpload(f"{self.place}: an unfinished file is gone") from None
            try:
                self._write(fd, key, part)
            finally:
                os.close(fd)
        return part.md5.hex()

    def parts(self, key: str, upload: str) -> dict[int, tuple[str, int]]:
        """None is known to have reached the disk: all are written again."""
        if not os.path.exists(self._part(upload)):
            raise NoUpload(f"{self.place}: an unfinished file is gone")
        return {}

    def complete(self, key: str, upload: str, etags: Sequence[str], condition: Condition | None) -> None:
        path, part = self._path(key), self._part(upload)
        with self._errors():
            try:
                fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                raise NoUpload(f"{self.place}: an unfinished file is gone") from None
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            self._directories(path)
            if condition is None or condition.etag:
                if condition is not None:
                    found = self.head(key)
                    if found is None or found.etag != condition.etag:
                        raise Taken(f"{self.place}: {key} has changed")
                os.replace(part, path)
            else:
                _link(part, path)
            _sync(os.path.dirname(path))

    def abort(self, key: str, upload: str) -> None:
        with self._errors(), contextlib.suppress(FileNotFoundError, NoUpload):
            os.unlink(self._part(upload))

    def uploads(self, key: str) -> list[str]:
        begin, whole = _upload_name(key) + "-", _upload_name(key) + "-whole"
        try:
            return [name for name in os.listdir(self._parts) if name.startswith(begin) and name != whole]
        except OSError:
            return []

    def adopt(self, fd: int, path: str, directory: int, key: str) -> bool:
        """A hard link, after which the file is the same under both names."""
        target = self._path(key)
        with self._errors():
            os.fsync(fd)
            self._directories(target)
            try:
                os.link(path, target, src_dir_fd=directory, follow_symlinks=False)
            except FileExistsError:
                raise Taken(f"{self.place}: {key} exists") from None
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return False
            _sync(os.path.dirname(target))
        return True

    def _write(self, fd: int, key: str, part: Part) -> None:
        """Compares the MD5 as S3 does, so that nothing else than what was hashed gets a name."""
        offset, md5 = part.offset, hashlib.md5(usedforsecurity=False)
        for piece in part.pieces():
            md5.update(piece)
            rest = memoryview(piece)
            while rest:
                done = os.pwrite(fd, rest, offset)
                rest, offset = rest[done:], offset + done
        if md5.digest() != part.md5:
            raise Unavailable(f"{self.place}: part {part.number} of {key} was damaged on its way")

    def _directories(self, path: str) -> None:
        """Make the directories of a path, none of them through a symbolic link below the root."""
        directory = os.path.dirname(path)
        self._make(directory)
        if os.path.realpath(directory) != os.path.join(
            os.path.realpath(self.root), os.path.relpath(directory, self.root)
        ).removesuffix("/."):
            raise StoreError(f"{self.place}: {directory} lies behind a symbolic link")

    def _make(self, directory: str) -> None:
        """With those above it, all names on the disk: what is moved into them has to be there after a power loss."""
        if directory in self._made and os.path.isdir(directory):
            return
        above = os.path.dirname(directory)
        if directory == self.root:
            make_directories(directory)
            with contextlib.suppress(OSError):  # ours to enter, but perhaps not to read
                _sync(above)
        else:
            self._make(above)
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory)
            _sync(above)
        if len(self._made) >= MAX_EXPORT_DIRECTORIES:
            self._made.clear()
        self._made.add(directory)

    def _path(self, key: str) -> str:
        """Keys are made by sftools.export.names, which leaves no component empty, `.` or `..`."""
        return os.path.join(self.root, key)

    def _part(self, upload: str) -> str:
        """Uploads' names come back from a journal, which others may have written: one with a slash is none of ours."""
        if not _UPLOAD.fullmatch(upload):
            raise NoUpload(f"{self.place}: no unfinished file has the name {upload!r}")
        return os.path.join(self._parts, upload)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = Unavailable if error.errno in _LATER else StoreError
            raise kind(f"{self.place}: {error.strerror or error}") from None


_UPLOAD = re.compile(r"[0-9a-f]{32}-(whole|[0-9a-f]{16})")


def _upload_name(key: str) -> str:
    return hashlib.sha256(os.fsencode(key)).hexdigest()[:32]


def _etag(found: os.stat_result) -> str:
    return f"{found.st_ino:x}.{found.st_size:x}.{found.st_mtime_ns:x}"


def _link(part: str, path: str) -> None:
    """Give a complete file its name, but replace nothing."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise Taken(f"{path} exists") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without links there is a moment between looking and renaming.
        if os.path.lexists(path):
            raise Taken(f"{path} exists") from None
        os.rename(part, path)
    else:
        os.unlink(part)


def _sync(directory: str) -> None:
    """Put a directory's names on the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
