"""Holds the layers: which module may import which. Prints every violation as file:line; exit 1 if there is one.

    scripts/check_layers.py [ROOT]      ROOT: the directory that holds sftools/ (default: this checkout)

A module may import its own layer's members of the same name and everything in lower layers. The rules stand in LAYERS
and THIRD_PARTY; a module or package in neither is a violation, so that a new one is given its place.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# Lowest first. Names in one row do not import each other.
LAYERS = (
    ("errors", "limits", "cython_standin"),
    ("schema", "source", "newfile", "conditions"),
    ("scap", "avro", "store", "utils", "objtypes"),
    ("engine", "reader", "inputs"),
    ("fields", "live"),
    ("filter",),
    ("sfql", "porter"),
    ("libsysflow", "render"),
    ("formatter", "traces", "compat"),
    ("export",),
    ("tools",),
)

# Libraries that only some modules use (as dotted prefixes under sftools).
THIRD_PARTY = {
    "boto3": ("store",),
    "botocore": ("store",),
    "click": ("tools",),
    "fastavro": ("avro",),
    "minio": ("store",),
    "pandas": ("render", "formatter", "traces"),
    "pyarrow": ("render", "formatter", "traces"),
    "rich": ("tools",),
    "urllib3": ("store",),
    "watchdog": ("export",),
}

_CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+cimport\s+(.*)|cimport\s+([\w.]+))")


def imports(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, module, name) of each import: (1, "a.b", "c") for `from a.b import c`, (1, "a.b", "") for `import a.b`.

    cython.cimports.x is x. Reads .py and .pxd. Raises SyntaxError on a .py that does not parse.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".pxd":
        for number, line in enumerate(text.splitlines(), 1):
            if found := _CIMPORT.match(line):
                for name in (found[2] or "").split(","):
                    yield number, found[1] or found[3], name.strip()
        return
    for node in ast.walk(ast.parse(text, str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.removeprefix("cython.cimports."), ""
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, module.removeprefix("cython.cimports."), alias.name


def layer(name: str) -> int:
    """The row of LAYERS that has `name`; -1 where none has."""
    return next((i for i, row in enumerate(LAYERS) if name in row), -1)


def wrong(own: str, compiled: bool, module: str, name: str) -> str | None:
    """Why a module whose place is `own` (dotted, under sftools; "" for the package itself) may not have this import."""
    if name == "*":
        return f"from {module} import *: name what is used"
    if module.startswith("."):
        return f"relative import of {module}{name}: write the whole name"
    library, _, rest = module.partition(".")
    if library == "cython":
        return None if compiled else "cython is for *_cy.py modules"
    if library != "sftools":
        places = THIRD_PARTY.get(library)
        if places is None or any((own + ".").startswith(place + ".") for place in places):
            return None
        return f"{library} is for {', '.join('sftools.' + place for place in places)} only"
    target = (rest or name).split(".")[0]
    if target.startswith("__") or not own:  # `from sftools import __version__`; the package's public names
        return None
    here = own.split(".")[0]
    if target == here:
        return None
    mine, theirs = layer(here), layer(target)
    if theirs < 0:
        return f"sftools.{target} has no layer: give it one in scripts/check_layers.py"
    if mine > theirs:
        return None
    return f"sftools.{here} imports sftools.{target}, which is {'beside' if mine == theirs else 'above'} it"


def violations(root: Path) -> list[str]:
    """Every violation under root/sftools as `file:line: what`, files relative to root, in order."""
    out = []
    for path in sorted(p for p in (root / "sftools").rglob("*") if p.suffix in (".py", ".pxd")):
        relative = path.relative_to(root)
        parts = list(path.relative_to(root / "sftools").with_suffix("").parts)
        own = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if own and layer(parts[0]) < 0:
            out.append(f"{relative}:1: sftools.{parts[0]} has no layer: give it one in scripts/check_layers.py")
            continue
        try:
            found = sorted(set(imports(path)))
        except SyntaxError as error:
            out.append(f"{relative}:{error.lineno or 1}: {error.msg}")
            continue
        for line, module, name in found:
            if why := wrong(own, path.stem.endswith("_cy"), module, name):
                out.append(f"{relative}:{line}: {why}")
    return list(dict.fromkeys(out))


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    found = violations(root)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
