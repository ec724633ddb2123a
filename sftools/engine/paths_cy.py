"""Paths of the captured machine, resolved lexically: the converting machine is never asked."""

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

from sftools.limits import MAX_PATH_BYTES

# What falcosecurity/libs writes for a path that cannot be held.
TOO_LONG = b"/DIR_TOO_LONG/FILENAME_TOO_LONG"
_MAX = cython.declare(cython.Py_ssize_t, MAX_PATH_BYTES)


@cython.cfunc
@cython.inline
def _is_normal(path: bytes) -> cython.bint:
    """True where no component is empty, '.' or '..', and no slash ends the path."""
    n: cython.Py_ssize_t = len(path)
    i: cython.Py_ssize_t
    length: cython.Py_ssize_t = 0
    dots: cython.Py_ssize_t = 0
    if cython.compiled:
        b: cython.pointer[cython.const[cython.uchar]] = path
    else:
        b = path
    if n == 0 or n > _MAX:
        return n == 0
    for i in range(1 if b[0] == 47 else 0, n):
        if b[i] == 47:
            if length == dots and length < 3:
                return False
            length = 0
            dots = 0
        else:
            length += 1
            if b[i] == 46:
                dots += 1
    if n == 1:
        return b[0] != 46
    return not (length == dots and length < 3)


def normal(path):
    """A path without '.', '..', '//' and trailing '/'. A relative path stays relative; '..' above the root is the root."""
    if _is_normal(path):
        return path
    if len(path) > _MAX:
        return TOO_LONG
    kept: list = []
    for part in path.split(b"/"):
        if part == b"..":
            if kept and kept[len(kept) - 1] != b"..":
                kept.pop()
            elif not path.startswith(b"/"):
                kept.append(part)
        elif part and part != b".":
            kept.append(part)
    return (b"/" if path.startswith(b"/") else b"") + b"/".join(kept)


def join(directory, name):
    """`name` seen from `directory` (with or without trailing '/'), normalised. An absolute name stands for itself."""
    if name.startswith(b"/") or not directory:
        return normal(name)
    if not name:
        return normal(directory)
    if len(directory) + len(name) > _MAX:
        return TOO_LONG
    if directory.endswith(b"/"):
        return normal(directory + name)
    return normal(directory + b"/" + name)


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
