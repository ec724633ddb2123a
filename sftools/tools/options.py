"""Options as the existing tools take them: abbreviated, with an optional value; and those of S3."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sftools.store.s3 import S3Options


class OptionalBool(click.types.BoolParamType):
    """--option, --option yes, --option no: the next argument belongs to it only if it says yes or no."""

    name = "optional boolean"

    def is_one(self, text: str) -> bool:
        try:
            self.convert(text, None, None)
        except click.BadParameter:
            return False
        return bool(text.strip())


class Command(click.Command):
    """A command whose long options may be abbreviated, as with argparse, while only one begins so."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(self._written_out(ctx, args)))

    def _written_out(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        names = {name: option for option in options for name in [*option.opts, *option.secondary_opts]}
        out: list[str] = []
        rest = list(reversed(args))
        while rest:
            given = rest.pop()
            if given == "--":
                out += [given, *reversed(rest)]
                break
            if given.startswith("--"):
                name, equals, value = given.partition("=")
                name = self._whole_name(ctx, name, names)
                option = names.get(name)
                if option is not None and isinstance(option.type, OptionalBool) and not equals:
                    equals, value = "=", rest.pop() if rest and option.type.is_one(rest[-1]) else "yes"
                out.append(name + equals + value)
            else:
                option = _last_of_cluster(given, names)
                equals = ""
                out.append(given)
            if option is not None and not option.is_flag and not equals and rest:
                out.append(rest.pop())  # its value, whatever it looks like
        return out

    def _whole_name(self, ctx: click.Context, name: str, names: dict[str, click.Option]) -> str:
        if name in names:
            return name
        matches = [whole for whole in names if whole.startswith("--") and whole.startswith(name)]
        if len({id(names[match]) for match in matches}) > 1:
            raise click.UsageError(f"Option {name} is ambiguous: {', '.join(sorted(matches))}.", ctx)
        return matches[0] if matches else name


def _last_of_cluster(given: str, names: dict[str, click.Option]) -> click.Option | None:
    """The option of -a, or of -qa, that takes the next argument as its value; None where there is none."""
    if not given.startswith("-") or given == "-":
        return None
    for at, letter in enumerate(given[1:], 2):
        option = names.get(f"-{letter}")
        if option is None or not option.is_flag:
            return option if at == len(given) else None
    return None


_S3_OPTIONS = (
    click.option(
        "-e", "--s3endpoint", metavar="HOST", envvar="S3_ENDPOINT", help="S3 server, host[:port] or URL. [AWS]"
    ),
    click.option(
        "-p", "--s3port", type=click.IntRange(1, 65535), metavar="PORT", envvar="S3_PORT", help="Its port. [443]"
    ),
    click.option(
        "-a", "--s3accesskey", metavar="KEY", help="S3 access key. [S3_ACCESS_KEY, a secret file, AWS's chain]"
    ),
    click.option(
        "-s", "--s3secretkey", metavar="KEY", help="S3 secret key. [S3_SECRET_KEY, a secret file, AWS's chain]"
    ),
    click.option(
        "--secure", type=OptionalBool(), default=True, metavar="[BOOL]", envvar="S3_SECURE", help="S3 with TLS. [yes]"
    ),
    click.option("--s3region", metavar="NAME", envvar="S3_REGION", help="S3 region. [AWS's settings]"),
    click.option(
        "--s3path-style/--no-s3path-style",
        default=None,
        envvar="S3_PATH_STYLE",
        help="S3 bucket in the path, not in the host name. [with -e]",
    ),
)


def s3_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that read or write S3; `s3_settings` takes them out of what the command was given."""
    for option in reversed(_S3_OPTIONS):
        function = option(function)
    return function


def s3_settings(given: dict[str, Any]) -> S3Options:
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
