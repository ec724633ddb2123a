"""The options of S3."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from sftools.tools.command import Command
from sftools.tools.options import s3_options, s3_settings


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
