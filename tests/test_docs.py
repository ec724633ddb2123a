"""The examples in the documentation do what they say."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import sftools
from sftools.tools import sysporter

ROOT = Path(__file__).parents[1]


def test_python_api(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "python-api.md").read_text()
    blocks = re.findall(r"```pycon\n(.*?)```", text, re.DOTALL)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "python-api.md", None, 0)
    assert len(test.examples) > 10
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    told: list[str] = []
    runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)


def test_the_readme_shows_what_make_demo_prints(tmp_path: Path) -> None:
    command = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "/sysprint -c" in line)
    fields = command.split(" -c ")[1].split()[0]
    trace = tmp_path / "demo.sf"
    convert = ["sysporter", "-r", str(ROOT / "tests" / "fixtures" / "webshell.scap"), "-w", str(trace)]
    run = [sys.executable, "-c", "import sys; from sftools.tools import {0}; sys.argv[0] = '{0}'; {0}.main()"]
    subprocess.run([*run[:2], run[2].format(convert[0]), *convert[1:]], check=True)
    printed = subprocess.run(
        [*run[:2], run[2].format("sysprint"), "-c", fields, str(trace)], check=True, capture_output=True, text=True
    )
    assert printed.stdout in (ROOT / "README.md").read_text()


def check_examples(name: str, directory: Path) -> None:
    """Each `$ command` of a document and the lines below it, in one shell, which begins in `directory`."""
    text = (ROOT / "docs" / name).read_text()
    lines = [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]
    shown = re.findall(r"^\$ (.*)\n((?:(?!\$ |sysprint host).*\n)*)", "\n".join([*lines, ""]), re.MULTILINE)
    assert len(shown) >= 6
    programs = directory / "bin"
    programs.mkdir()
    for tool in ("sysporter", "sysprint", "sf-codegen"):
        package_root = Path(sftools.__file__).parents[1]
        module = f"sftools.tools.{tool.replace('-', '_')}"
        (programs / tool).write_text(f'#!/bin/sh\nPYTHONPATH={package_root} exec {sys.executable} -m {module} "$@"\n')
    (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    after = "\nstatus=$?; echo @@@; (exit $status)\n"
    done = subprocess.run(
        ["sh", "-c", "exec 2>&1\n" + after.join(command for command, _ in shown) + after],
        cwd=directory,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        check=False,
        capture_output=True,
        text=True,
    )
    for (command, expected), got in zip(shown, done.stdout.split("@@@\n")[:-1], strict=True):
        assert got == expected, command


def test_sysprint_says_what_its_document_shows(tmp_path: Path) -> None:
    """demo.sf is what make demo makes."""
    capture = ROOT / "tests" / "fixtures" / "webshell.scap"
    with pytest.raises(SystemExit) as ended:
        sysporter.main(["-r", str(capture), "-w", str(tmp_path / "demo.sf")])
    assert ended.value.code == 0
    check_examples("sysprint.md", tmp_path)


def test_sf_codegen_says_what_its_document_shows(tmp_path: Path) -> None:
    """alerts.avdl is what stands there, too."""
    found = re.search(r"```avdl\n(.*?)```", (ROOT / "docs" / "sf-codegen.md").read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / "alerts.avdl").write_text(found[1])
    check_examples("sf-codegen.md", tmp_path)


@pytest.mark.parametrize("name", ["sysprint", "sysporter", "sf_codegen", "sf_exporter"])
def test_every_option_is_documented(name: str) -> None:
    main = importlib.import_module(f"sftools.tools.{name}").main
    text = (ROOT / "docs" / f"{name.replace('_', '-')}.md").read_text()
    for parameter in main.params:
        names = [*parameter.opts, *parameter.secondary_opts]
        if parameter.param_type_name == "option":
            assert any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) for name in names), names
        if parameter.envvar:
            assert re.search(rf"\b{parameter.envvar}\b", text), parameter.envvar


def test_every_module_that_the_map_of_the_reader_names_exists() -> None:
    text = (ROOT / "docs" / "reader.md").read_text()
    named = set(re.findall(r"\b(?:sftools/)?((?:\w+/)?\w+(?:\.py|_cy(?:\.py)?))\b", text))
    assert {"avro/blocks.py", "reader/rows_cy", "fields.py"} <= named
    for name in named:
        path = ROOT / "sftools" / name.removesuffix(".py")
        assert path.with_suffix(".py").is_file() or list((ROOT / "sftools").rglob(f"{path.name}.py")), name


def test_the_readme_exports(tmp_path: Path, s3_server: Any) -> None:
    """As it stands there, but in another directory."""
    programs = Path(sys.executable).parent
    if not (programs / "sf-exporter").exists():
        pytest.skip("sf-exporter is not installed")
    (tmp_path / ".venv").mkdir()
    for link, target in ((".venv/bin", programs), ("tests", ROOT / "tests"), ("scripts", ROOT / "scripts")):
        (tmp_path / link).symlink_to(target)
    text = (ROOT / "README.md").read_text()
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ") and "build/traces" in line]
    assert len(lines) == 4
    done = subprocess.run(
        ["sh", "-ec", "\n".join(lines)], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "build" / "traces").glob("1*")) == []
    archived = (tmp_path / "build" / "archive" / "2024" / "05" / "01" / "1714557600.sf").read_bytes()
    assert archived == (ROOT / "tests" / "fixtures" / "traces" / "webshell.sf").read_bytes()
    assert "1714557601 -> 2024/05/01/1714557601.sf" in done.stderr


def test_every_extra_that_is_named_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [path.read_text() for folder in ("docs", "sftools") for path in (ROOT / folder).rglob("*.[mp][dy]")]
    named = set(re.findall(r"(?:sftools|\.)\[([a-z0-9]+)\]'", "\n".join([*texts, (ROOT / "README.md").read_text()])))
    assert {"arrow", "export", "pandas", "s3"} <= named <= set(extras)
