"""scripts/check_layers.py over made-up trees, and over this one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("check_layers", ROOT / "scripts" / "check_layers.py")
assert _spec
assert _spec.loader
check_layers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_layers)


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "sftools" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


ALLOWED = {
    "downwards": {"engine/users.py": "from sftools.scap import lists\nfrom sftools.limits import MIB\n"},
    "inside a layer's package": {"scap/lists.py": "from sftools.scap.blocks import EV\n"},
    "beside, in a row whose members go together": {"libsysflow.py": "from sftools import porter\n"},
    "the version from anywhere": {"avro/text.py": "from sftools import __version__\n"},
    "the package's public names": {"__init__.py": "from sftools.porter import convert\n"},
    "click in tools": {"tools/sysporter.py": "import click\n"},
    "fastavro in avro": {"avro/plan.py": "import fastavro.schema\n"},
    "cython in a compiled module": {"scap/events_cy.py": "import cython\n"},
    "another library": {"schema/codegen/parser.py": "import lark\n"},
}


@pytest.mark.parametrize("files", ALLOWED.values(), ids=ALLOWED)
def test_allowed(tmp_path: Path, files: dict[str, str]) -> None:
    assert check_layers.violations(tree(tmp_path, files)) == []


FORBIDDEN = {
    "upwards": (
        "scap/lists.py",
        "import sftools.engine.users",
        "sftools.scap imports sftools.engine, which is above it",
    ),
    "upwards, by the package": ("limits.py", "from sftools import tools", "which is above it"),
    "upwards, inside a function": (
        "avro/text.py",
        "def f():\n    from sftools.tools import utils",
        "which is above it",
    ),
    "upwards, cimported": ("scap/a_cy.py", "from cython.cimports.sftools.engine.b_cy import X", "which is above it"),
    "upwards, in a .pxd": ("scap/a_cy.pxd", "from sftools.engine.b_cy cimport X, Y", "which is above it"),
    "beside": ("scap/lists.py", "from sftools.avro.text import to_str", "which is beside it"),
    "a star": ("engine/users.py", "from os import *", "import *"),
    "relative": ("engine/users.py", "from . import options", "relative import"),
    "click elsewhere": ("porter.py", "import click", "click is for sftools.tools only"),
    "fastavro elsewhere": ("reader/records.py", "from fastavro import reader", "fastavro is for sftools.avro only"),
    "cython in a plain module": ("scap/lists.py", "import cython", "cython is for *_cy.py modules"),
    "a module without a layer": ("helpers.py", "", "sftools.helpers has no layer"),
    "an import of one": ("tools/a.py", "import sftools.helpers", "sftools.helpers has no layer"),
    "no Python": ("scap/lists.py", "def def", "invalid syntax"),
}


@pytest.mark.parametrize(("name", "text", "why"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_forbidden(tmp_path: Path, name: str, text: str, why: str) -> None:
    found = check_layers.violations(tree(tmp_path, {name: text}))
    assert len(set(found)) == len(found) > 0
    assert all(line.startswith(f"sftools/{name}:") and why in line for line in found)


def test_a_violation_names_its_line(tmp_path: Path) -> None:
    tree(tmp_path, {"schema/opflags.py": '"""Flags."""\n\nfrom sftools.scap import blocks\n'})
    assert check_layers.violations(tmp_path) == [
        "sftools/schema/opflags.py:3: sftools.schema imports sftools.scap, which is above it"
    ]


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_layers.main([str(tree(tmp_path, {"errors.py": ""}))]) == 0
    assert check_layers.main([str(tree(tmp_path, {"errors.py": "import sftools.schema"}))]) == 1
    assert capsys.readouterr().out == "sftools/errors.py:1: sftools.errors imports sftools.schema, which is above it\n"


def test_this_package_keeps_its_layers() -> None:
    assert check_layers.violations(ROOT) == []
