"""Commands: options as argparse takes them, errors as lines, exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sftools.conditions.errors import FilterError
from sftools.errors import InputError, UsageError
from sftools.tools.command import Command
from sftools.tools.options import OptionalBool

TRACE = str(Path(__file__).parents[1] / "fixtures" / "traces" / "webshell.sf")


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1)
@click.option("-f", "--filter", "expression")
@click.option("-k", "--k8s", is_flag=True)
@click.option("-K", "--k8sevents", is_flag=True)
@click.option("-q", "--quiet", is_flag=True)
@click.option("--color/--no-color", default=None)
@click.option("--size", type=int)
@click.option("--secure", type=OptionalBool(), default=True)
def command(**given: Any) -> None:
    click.echo(" ".join(f"{name}={value!r}" for name, value in sorted(given.items()) if value is not None))


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments)
    return result.output.strip() if result.exit_code == 0 else f"{result.exit_code}: {result.output.splitlines()[-1]}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--filter", "x"], "expression='x'"),
        (["--fi", "x"], "expression='x'"),
        (["--fi=x=y"], "expression='x=y'"),
        (["--si", "3"], "size=3"),
        (["--k8s"], "k8s=True"),
        (["--k8se"], "k8sevents=True"),
        (["--no"], "color=False"),
        (["a", "--qu", "b"], "paths=('a', 'b') quiet=True"),
        (["--", "--qu"], "paths=('--qu',)"),
        (["--k8"], "command: Option --k8 is ambiguous: --k8s, --k8sevents."),
        (["--s"], "command: Option --s is ambiguous: --secure, --size."),
        (["--x"], "No such option"),
        (["--filter"], "requires an argument"),
    ],
)
def test_abbreviations(arguments: list[str], expected: str) -> None:
    assert expected in run(*arguments)


@pytest.mark.parametrize("option", [["-f"], ["--filter"], ["--fil"], ["-qf"]])
@pytest.mark.parametrize("value", ["--quiet", "--k8se", "--secure", "-k", "--"])
def test_a_value_is_a_value_whatever_it_looks_like(option: list[str], value: str) -> None:
    said = run(*option, value)
    assert f"expression={value!r}" in said
    assert "k8s=False k8sevents=False" in said


@pytest.mark.parametrize(
    ("arguments", "secure", "paths"),
    [
        (["--secure"], True, ()),
        (["--secure", "a.sf"], True, ("a.sf",)),
        (["--secure", "-q"], True, ()),
        (["--secure", "no", "a.sf"], False, ("a.sf",)),
        (["--sec", "False", "a.sf"], False, ("a.sf",)),
        (["--secure", "0"], False, ()),
        (["--secure", "Y", "a.sf"], True, ("a.sf",)),
        (["--secure=f", "yes"], False, ("yes",)),
        (["--secure", ""], True, ("",)),
        (["a.sf", "--secure", "n"], False, ("a.sf",)),
    ],
)
def test_an_optional_value_takes_no_path(arguments: list[str], secure: bool, paths: tuple[str, ...]) -> None:
    said = run(*arguments)
    assert f"paths={paths!r}" in said
    assert ("secure=True" in said) is secure


def test_a_wrong_optional_value() -> None:
    assert "'maybe' is not a valid boolean" in run("--secure=maybe")


WORDS = [
    "--fi",
    "--filter",
    "--filter=",
    "--k8",
    "--k8s=x",
    "--secure",
    "--secure=",
    "no",
    "-f",
    "-qf",
    "-",
    "--",
    "-fx",
    "",
    "--=",
]


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=6))
def test_any_arguments_are_taken_or_refused(arguments: list[str]) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code in (0, 2), result.exception


@click.command("tool", cls=Command)
@click.option("--fail", type=click.Choice(["error", "filter", "usage"]))
@click.option("--status", type=int, default=0)
@click.version_option("1.0")
def tool(fail: str | None, status: int) -> int:
    errors = {
        "error": InputError("x.sf", "is empty", 7),
        "filter": FilterError("unknown field", "a.b = 1", 1),
        "usage": UsageError("no input"),
    }
    if fail:
        raise errors[fail]
    return status


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 0, ""),
        (["--status", "3"], 3, ""),
        (["--fail", "error"], 1, "tool: x.sf at offset 7: is empty\n"),
        (["--fail", "filter"], 2, "tool: filter: unknown field\n  a.b = 1\n  ^\n"),
        (["--fail", "usage"], 2, "tool: no input\n"),
        (["--status", "x"], 2, "tool: Invalid value for '--status': 'x' is not a valid integer.\n"),
        (["a\nb"], 2, "tool: Got unexpected extra argument (a\\x0ab)\n"),
    ],
)
def test_errors_are_lines_and_statuses(arguments: list[str], status: int, said: str) -> None:
    result = CliRunner().invoke(tool, arguments)
    assert (result.exit_code, result.stderr) == (status, said)


COMMANDS = ("sysporter", "sysprint", "sf_exporter", "sf_codegen")


def start(name: str, *arguments: str, stdout: int | IO[bytes], **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"sftools.tools.{name}", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_what_cannot_be_written_is_an_error_of_one_line(name: str, option: str) -> None:
    with open("/dev/full", "wb") as full, start(name, option, stdout=full) as running:
        assert running.stderr is not None
        said = running.stderr.read().decode()
    assert said == f"{name.replace('_', '-')}: stdout: cannot be written: No space left on device\n"
    assert running.returncode == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_went_away_is_no_error(name: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with start(name, "--help", stdout=writing) as running:
        os.close(writing)
        assert running.stderr is not None
        assert running.stderr.read() == b""
    assert running.returncode == 0


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("sysprint", ["-f", "type =", "x.sf"], 2),
        ("sysprint", ["--stats", TRACE], 0),
        ("sysporter", ["--jobs", "0"], 2),
        ("sf_codegen", ["--check", "none.avdl"], 1),
    ],
)
def test_where_messages_cannot_be_written_the_status_is_the_same(name: str, arguments: list[str], status: int) -> None:
    command = [sys.executable, "-m", f"sftools.tools.{name}", *arguments]
    with open("/dev/full", "wb") as full:
        assert subprocess.run(command, stdout=subprocess.DEVNULL, stderr=full, check=False).returncode == status


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["-o", "json", TRACE], ["-o", "csv", TRACE], [TRACE], ["--help"]])
def test_what_is_written_in_part_only_is_an_error(tmp_path: Path, arguments: list[str], unbuffered: str) -> None:
    """As on a disk that gets full."""
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", sys.executable, "-m", "sftools.tools.sysprint"]
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            [*limited, *arguments],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"sysprint: stdout: cannot be written: File too large\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_shells_complete_options(name: str) -> None:
    variable = f"_{name.upper()}_COMPLETE"
    with start(
        name, stdout=subprocess.PIPE, **{variable: "bash_complete", "COMP_WORDS": f"{name} --hel", "COMP_CWORD": "1"}
    ) as running:
        assert running.stdout is not None
        assert running.stdout.read() == b"plain,--help\n"
    assert running.returncode == 0


@pytest.mark.parametrize("more", [{}, {"COMP_WORDS": "sysprint", "COMP_CWORD": "x"}])
def test_who_completes_without_a_shell(more: dict[str, str]) -> None:
    with start("sysprint", stdout=subprocess.PIPE, _SYSPRINT_COMPLETE="bash_complete", **more) as running:
        assert running.stderr is not None
        assert running.stderr.read().startswith(b"sysprint: _SYSPRINT_COMPLETE=bash_complete: is for shells")
    assert running.returncode == 2
