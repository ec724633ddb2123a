"""From what a command is given to the inputs that it reads: files, directories, patterns, standard input, S3 buckets.

`expand` is what sysporter and sysprint share; `find_traces` is for what reads traces.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from sftools.avro.container import MAGIC
from sftools.errors import InputError, SftoolsError, UsageError
from sftools.newfile import is_temporary
from sftools.source import STDIN, Source, open_source

if TYPE_CHECKING:
    from sftools.store.s3 import S3Object, S3Options, S3Store

S3_SCHEME = "s3://"
# int() refuses numbers of thousands of digits, which a store can name.
_NUMBERS = re.compile(r"(\d{1,255})")


class NotATrace(InputError):
    """Found in a directory or bucket, but no Avro container: to be passed over with a warning."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input. name: for messages.

    open(): raises InputError where it cannot be opened, NotATrace where it was found and not named, and is no trace.
    """

    name: str
    open: Callable[[], Source]


def find_traces(
    names: Sequence[str], *, recursive: bool = False, s3: Callable[[], S3Options] | None = None, buckets: bool = False
) -> Iterator[Input]:
    """The inputs that names stand for, in the order of the names, those of one name in natural order.

    A name is a file, a directory (its regular files; with `recursive` also those further down), a pattern, `-`, or
    s3://BUCKET[/PREFIX]. With `buckets` every name is BUCKET[/PREFIX]. What sysporter has not completed is left out. A
    name that stands for nothing is an input whose open() says so. s3: gives the settings when a bucket
    is met; without it they come from the environment. Raises UsageError for wrong ones.
    """
    store: S3Store | None = None
    for name in names:
        try:
            if buckets or name.startswith(S3_SCHEME):
                if store is None:
                    store = _connect(s3)
                yield from _objects(store, name.removeprefix(S3_SCHEME))
            else:
                yield from _files(name, recursive)
        except UsageError:
            raise
        except SftoolsError as error:
            yield Input(name, partial(_fail, error))


def _fail(error: SftoolsError) -> NoReturn:
    raise error


def _found(name: str, opened: Callable[[], Source]) -> Source:
    """A file that nobody named: it has to be a trace."""
    source = opened()
    try:
        if not source.starts_with(MAGIC):
            raise NotATrace(name, "is no SysFlow trace (no Avro container file)")
    except BaseException:
        source.close()
        raise
    return source


# -- files


def expand(
    name: str, accept: Callable[[str], bool], recursive: bool = False, refused: list[InputError] | None = None
) -> list[str] | None:
    """The files that a directory or a pattern stands for, in natural order (x2 before x10); None for anything else.

    Of a directory those that `accept` takes (given their paths), perhaps none; of a pattern all but directories. With
    `recursive` directories in directories are entered, but not through symbolic links; what cannot be listed of them
    is appended to `refused`. Raises InputError where the directory itself cannot be, or a pattern matches nothing.
    """
    if name == STDIN:
        return None
    if os.path.isdir(name):
        return sorted(filter(accept, _listed(name, recursive, refused)), key=natural)
    if not os.path.lexists(name) and glob.has_magic(name):
        matches = sorted((path for path in glob.glob(name) if os.path.isfile(path)), key=natural)
        if not matches:
            raise InputError(name, "matches no file")
        return matches
    return None


def natural(name: str) -> list[tuple[int, str]]:
    """The key that sorts by the numbers in names; a name that begins with a number (a timestamp) comes first."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBERS.split(name)]


def _listed(directory: str, recursive: bool, refused: list[InputError] | None) -> Iterator[str]:
    """What is in a directory; with `recursive` what is in its directories instead of these."""
    waiting = [directory]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if recursive and entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield entry.path
        except OSError as error:
            failed = InputError(here, f"cannot be listed: {error.strerror}")
            if refused is None or here == directory:
                raise failed from None
            refused.append(failed)


def _is_candidate(path: str) -> bool:
    return not is_temporary(os.path.basename(path)) and os.path.isfile(path)


def _files(name: str, recursive: bool) -> Iterator[Input]:
    refused: list[InputError] = []
    files = expand(name, _is_candidate, recursive, refused)
    if files is None:
        yield Input("stdin" if name == STDIN else name, partial(open_source, name))
    elif os.path.isdir(name):
        for error in refused:
            yield Input(error.path, partial(_fail, error))
        if not files and not refused:
            hint = None if recursive else "--recursive looks into its directories too"
            raise InputError(name, "has no file in it", hint=hint)
        for path in files:
            yield Input(path, partial(_found, path, partial(open_source, path)))
    else:
        for path in files:
            yield Input(path, partial(open_source, path))


# -- S3


def _connect(settings: Callable[[], S3Options] | None) -> S3Store:
    from sftools.store.s3 import S3Options, S3Store

    return S3Store(settings() if settings else S3Options())


def _objects(store: S3Store, name: str) -> Iterator[Input]:
    """The objects of BUCKET[/PREFIX]: the one of exactly that key, or all whose keys begin so."""
    bucket, _, prefix = name.partition("/")
    if not bucket:
        raise UsageError(f"{S3_SCHEME}{name}: no bucket: {S3_SCHEME}BUCKET[/PREFIX]")
    found: list[S3Object] = []
    for entry in store.list(bucket, prefix):
        if entry.key == prefix and not prefix.endswith("/"):
            yield Input(entry.name, partial(store.open, entry))
            return
        if not entry.key.endswith("/") and not is_temporary(os.path.basename(entry.key)):
            found.append(entry)
    if not found:
        raise InputError(f"{S3_SCHEME}{name}", "has no object in it" if not prefix else "no object's key begins so")
    for entry in sorted(found, key=lambda entry: natural(entry.key)):
        yield Input(entry.name, partial(_found, entry.name, partial(store.open, entry)))
