"""The modules that are compiled: which they are, that they are, and that they run without Cython."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sftools
from sftools import cython_standin

ROOT = Path(__file__).resolve().parent.parent
ON_DISK = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "sftools").rglob("*_cy.py"))
NAMES = [path.removesuffix(".py").replace("/", ".") for path in ON_DISK]


def compiled_in_setup() -> list[str]:
    """The list COMPILED, without running setup.py."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED":
            return list(ast.literal_eval(node.value))
    raise AssertionError("setup.py has no COMPILED")


def test_setup_lists_the_modules_on_disk() -> None:
    assert compiled_in_setup() == ON_DISK


def test_mypy_leaves_out_the_same_modules() -> None:
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    assert NAMES in [override["module"] for override in overrides if override.get("follow_imports") == "skip"]


@pytest.mark.parametrize("path", ON_DISK)
def test_each_has_a_pxd(path: str) -> None:
    assert (ROOT / path).with_suffix(".pxd").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_modules_are_what_the_run_says(name: str) -> None:
    """make test runs the tests twice, with SFTOOLS_EXPECT=compiled and =pure; this proves what has run."""
    expected = os.environ.get("SFTOOLS_EXPECT")
    if expected is None:
        pytest.skip("SFTOOLS_EXPECT is not set: make test sets it")
    suffix = Path(importlib.import_module(name).__file__ or "").suffix
    assert {".so": "compiled", ".py": "pure"}[suffix] == expected


@pytest.mark.parametrize("path", ON_DISK)
def test_the_standin_has_every_name(path: str) -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cython"
    }
    assert {name for name in used if not hasattr(cython_standin, name)} == set()


WITHOUT_CYTHON = """
import importlib, sys
sys.modules["cython"] = None  # importing it now raises ModuleNotFoundError
for name in sys.argv[2:]:
    importlib.import_module(name)
    module = sys.modules[name]
    plain = module.__file__.endswith(".py")
    assert not plain or module.cython.__name__ == "sftools.cython_standin", name
from sftools.libsysflow import convert
for record in convert(sys.argv[1]):
    print(record)
assert not any(name.lower().startswith("cython.") for name in sys.modules)
"""


def test_all_runs_without_cython() -> None:
    capture = str(ROOT / "tests" / "fixtures" / "webshell.scap")
    package_root = str(Path(sftools.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_CYTHON, capture, *NAMES],
        env={**os.environ, "PYTHONPATH": package_root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(record) for record in sftools.convert(capture)]
