"""The options of S3."""

from __future__ import annotations

from typing import Any

import click
from click.testing import CliRunner

from sftools.tools.command import Command
from sftools.tools.options import s3_options, s3_settings


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
