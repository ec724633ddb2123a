"""Options that several commands have: those of S3; and the types of options: names, numbers, sizes, yes or no."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sftools.store.s3 import S3Options

    _Text = click.ParamType[str]
    _Bytes = click.ParamType[int]
else:  # click before 8.4 has no type parameter there
    _Text = _Bytes = click.ParamType


class OptionalBool(click.types.BoolParamType):
    """--option, --option yes, --option no: the next argument belongs to it only if it says yes or no."""

    name = "optional boolean"

    def is_one(self, text: str) -> bool:
        """Whether the argument behind the option says yes or no, and so belongs to it."""
        try:
            self.convert(text, None, None)
        except click.BadParameter:
            return False
        return bool(text.strip())


class Name(_Text):
    """Of a file or directory. An empty one, as of a shell's variable that is not set, is refused here.

    Elsewhere its message would begin with nothing, and some calls take it for the current directory.
    """

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("the name is empty.", param, ctx)
        return str(value)


class Whole(click.IntRange):
    """A whole number within bounds."""

    name = "whole number"


class Number(click.FloatRange):
    """A number within bounds: a NaN, which is neither below nor above any, is none."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a valid number.", param, ctx)
        return number


class Size(_Bytes):
    """Bytes: 4096, 512K, 32M, 1G."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,15})([KMG]?)B?", str(value).strip().upper())
        if not found:
            self.fail(f"{value!r} is no size; such are 4096, 512K, 32M and 1G.", param, ctx)
        return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]]


_S3_OPTIONS = (
    click.option("-e", "--s3endpoint", metavar="HOST", help="S3 server, host[:port] or URL. [S3_ENDPOINT, AWS]"),
    click.option("-p", "--s3port", type=Whole(1, 65535), metavar="PORT", help="Its port. [S3_PORT, 443]"),
    click.option(
        "-a", "--s3accesskey", metavar="KEY", help="S3 access key. [S3_ACCESS_KEY, a secret file, AWS's chain]"
    ),
    click.option(
        "-s", "--s3secretkey", metavar="KEY", help="S3 secret key. [S3_SECRET_KEY, a secret file, AWS's chain]"
    ),
    click.option("--secure", type=OptionalBool(), default=None, metavar="[BOOL]", help="S3 with TLS. [S3_SECURE, yes]"),
    click.option("--s3region", metavar="NAME", help="S3 region. [S3_REGION, AWS's settings]"),
    click.option(
        "--s3path-style/--no-s3path-style",
        default=None,
        help="S3 bucket in the path, not in the host name. [S3_PATH_STYLE, with -e]",
    ),
)


def s3_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that read or write S3; `s3_settings` takes them out of what the command was given."""
    for option in reversed(_S3_OPTIONS):
        function = option(function)
    return function


def s3_settings(given: dict[str, Any]) -> S3Options:
    """What was given to the options of s3_options; given: by their parameters' names."""
    from sftools.store.s3 import S3Options

    return S3Options(
        endpoint=given["s3endpoint"],
        port=given["s3port"],
        access_key=given["s3accesskey"],
        secret_key=given["s3secretkey"],
        secure=given["secure"],
        region=given["s3region"],
        path_style=given["s3path_style"],
    )
