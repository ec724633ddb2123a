"""Options that several commands have."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner

from sftools.tools.command import Command
from sftools.tools.options import Number, Size, Whole, s3_options, s3_settings


@pytest.mark.parametrize(
    ("tool", "arguments", "what"),
    [
        ("sysporter", ["-r", "", "-w", "x"], "'-r' / '--read'"),
        ("sysporter", ["", "-w", "x"], "'[INPUT]... [-- COMMAND...]'"),
        ("sysporter", ["-r", "x", "-w", ""], "'-w' / '--write' (env var: 'OUTPUT')"),
        ("sysporter", ["-r", "x", "-u", ""], "'-u' / '--socket'"),
        ("sysporter", ["-w", "x", "--cgroup", ""], "'--cgroup'"),
        ("sysprint", [""], "'PATH...'"),
        ("sysprint", ["x", "-w", ""], "'-w' / '--file'"),
        ("sysprint", ["x", "-f", "type = PE", "-F", ""], "'-F' / '--definitions'"),
        ("sf_codegen", [""], "'IDL...'"),
        ("sf_codegen", ["x", "-o", ""], "'-o' / '--output'"),
    ],
)
def test_an_empty_name(tool: str, arguments: list[str], what: str) -> None:
    result = CliRunner().invoke(importlib.import_module(f"sftools.tools.{tool}").main, arguments)
    name = tool.replace("_", "-")
    assert result.stderr == f"{name}: Invalid value for {what}: the name is empty.\n"
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (Whole(1, 9), "9", 9),
        (Whole(1, 9), "10", "10 is not in the range 1<=x<=9."),
        (Whole(1, 9), "1e0", "'1e0' is not a valid whole number."),
        (Number(0, 9), "1e0", 1.0),
        (Number(0, 9), "9.5", "9.5 is not in the range 0<=x<=9."),
        (Number(0, 9), "nan", "'nan' is not a valid number."),
        (Number(0, 9), "x", "'x' is not a valid number."),
        (Size(), "4k", 4096),
        (Size(), "4kk", "'4kk' is no size; such are 4096, 512K, 32M and 1G."),
    ],
)
def test_numbers(kind: click.ParamType, given: str, expected: Any) -> None:
    try:
        got: Any = kind.convert(given, None, None)
    except click.BadParameter as error:
        got = error.message
    assert got == expected


@click.command(cls=Command)
@s3_options
def bucket(**given: Any) -> None:
    settings = s3_settings(given)
    click.echo(f"{settings} {settings.secret_key}")


def test_s3_settings() -> None:
    said = CliRunner().invoke(bucket, ["-e", "h", "-p", "9000", "-a", "A", "-s", "S", "--secure", "no"]).output
    assert said == (
        "S3Options(endpoint='h', port=9000, access_key='A', secure=False, region=None, path_style=None) S\n"
    )
    assert CliRunner().invoke(bucket, []).output == (
        "S3Options(endpoint=None, port=None, access_key=None, secure=None, region=None, path_style=None) None\n"
    )


def test_an_older_click_will_do() -> None:
    """Before 8.4 its ParamType takes no type parameter."""
    program = """
import click
class Older(click.ParamType):
    __class_getitem__ = None
click.ParamType = Older
from sftools.tools.options import Name, Size
print(Name().convert("x", None, None), Size().convert("1K", None, None))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "x 1024\n"
