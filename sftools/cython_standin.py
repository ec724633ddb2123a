"""What lets the `*_cy.py` modules run uncompiled: the names of `cython` they use, and their attributes' defaults.

Compiled modules do not use this: Cython resolves the names when it compiles, and C attributes start at zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

compiled = False


class _Type:
    """A C type: indexable (arrays, memoryviews), callable (casts)."""

    def __call__(self, value: Any = 0) -> Any:
        return value

    def __getitem__(self, item: Any) -> _Type:
        return self


bint = char = uchar = int = uint = longlong = ulonglong = _Type()
Py_ssize_t = size_t = double = pointer = const = _Type()


def cast(kind: Any, value: Any, **options: Any) -> Any:
    """The value itself: C casts change no Python object."""
    return value


def address(value: Any) -> Any:
    """Only compiled code takes addresses."""
    raise TypeError("uncompiled code has no addresses")


def declare(kind: Any, value: Any = None) -> Any:
    """A variable's first value."""
    return value


def _same(thing: Any) -> Any:
    return thing


def exceptval(*args: Any, **options: Any) -> Callable[[Any], Any]:
    """A decorator without effect: uncompiled functions raise what they raise."""
    return _same


cclass = cfunc = inline = final = no_gc = _same


_CLASS = re.compile(r"^cdef class (\w+)")
_ATTRIBUTE = re.compile(
    r"^    cdef (?:readonly |public )?((?:const |unsigned |signed |long |short )*[\w.]+[ *]*)(?<=[ *])([\w, ]+)$"
)


def plain_defaults(module_file: str, names: dict[str, Any]) -> None:
    """Gives the classes of an uncompiled module the zero values that their .pxd declares.

    C numbers become 0, objects of any type None; arrays are left to the class's __init__.
    """
    current: Any = None
    for line in Path(module_file).with_suffix(".pxd").read_text().splitlines():
        if found := _CLASS.match(line):
            current = names.get(found[1])
        elif current is not None and (found := _ATTRIBUTE.match(line)):
            kind = found[1].strip()
            number = kind.split()[-1] in {"int", "long", "short", "char", "bint", "double", "size_t", "Py_ssize_t"}
            for name in found[2].split(","):
                setattr(current, name.strip(), 0 if number else None)
