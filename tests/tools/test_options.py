"""Options as argparse takes them: abbreviated, and with a value that may be missing."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sftools.tools.options import Command, OptionalBool, s3_options, s3_settings


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
        (["--k8"], "Error: Option --k8 is ambiguous: --k8s, --k8sevents."),
        (["--s"], "Error: Option --s is ambiguous: --secure, --size."),
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


@click.command(cls=Command)
@s3_options
def bucket(**given: Any) -> None:
    settings = s3_settings(given)
    click.echo(f"{settings} {settings.secret_key}")


def test_s3_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S3_ENDPOINT", "S3_PORT", "S3_SECURE", "S3_REGION", "S3_PATH_STYLE"):
        monkeypatch.delenv(name, raising=False)
    said = CliRunner().invoke(bucket, ["-e", "h", "-p", "9000", "-a", "A", "-s", "S", "--secure", "no"]).output
    assert said == (
        "S3Options(endpoint='h', port=9000, access_key='A', secure=False, region=None, path_style=None) S\n"
    )
    environ = {"S3_ENDPOINT": "h", "S3_PORT": "1", "S3_SECURE": "false", "S3_REGION": "r", "S3_PATH_STYLE": "yes"}
    said = CliRunner().invoke(bucket, [], env=environ).output
    assert said == (
        "S3Options(endpoint='h', port=1, access_key=None, secure=False, region='r', path_style=True) None\n"
    )
