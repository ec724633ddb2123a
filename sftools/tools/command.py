"""What all commands do alike: abbreviated options, errors as lines, exit statuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from sftools.errors import EXIT_ERROR, EXIT_OK, ExistsError, SftoolsError, UsageError
from sftools.newfile import give_up
from sftools.tools.options import OptionalBool
from sftools.tools.terminal import ended_by_signals, say, tell

COMMAND = "sftools.command"


class Command(click.Command):
    """A command of sftools: its errors are lines, its exit statuses those of sftools.errors.

    Long options may be abbreviated, as with argparse, while only one begins so. With takes_command, what follows `--`
    is a command to run: it stands in the context's meta under COMMAND, and not among the arguments.
    """

    takes_command = False

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run, say in a line what went wrong, and exit: with the status that the command's function returns, or 0."""
        name = prog_name or self.name or "sftools"
        try:
            with ended_by_signals():
                self._complete_in_shell(name)
                with self.make_context(name, list(sys.argv[1:] if args is None else args)) as context:
                    status = self.invoke(context) or EXIT_OK
                sys.stdout.flush()
        except click.exceptions.Exit as end:
            status = _flushed(name, end.exit_code)
        except click.ClickException as error:
            say(name, error.format_message())
            status = error.exit_code
        except SftoolsError as error:
            _complain(name, error)
            status = error.exit_code
        except OSError as error:
            status = _unwritten(name, error)
        sys.exit(status)

    def _complete_in_shell(self, name: str) -> None:
        variable = f"_{name}_COMPLETE".replace("-", "_").upper()
        if instruction := os.environ.get(variable):
            from click.shell_completion import shell_complete

            try:
                raise click.exceptions.Exit(shell_complete(self, {}, name, variable, instruction))
            except (KeyError, ValueError):
                raise UsageError(
                    f"{variable}={instruction}: is for shells, which set COMP_WORDS and COMP_CWORD"
                ) from None

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
                if self.takes_command:
                    ctx.meta[COMMAND] = rest[::-1]
                else:
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


def _complain(name: str, error: SftoolsError) -> None:
    first, *more = error.lines()
    if isinstance(error, ExistsError):
        first += "; --force overwrites it"
    say(name, first)
    for line in more:
        tell(f"  {line}\n")


def _flushed(name: str, status: int) -> int:
    """The status, once standard output has what --help or --version printed."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return _unwritten(name, error)
    return status


def _unwritten(name: str, error: OSError) -> int:
    """The status where standard output takes no more."""
    give_up(1)
    if isinstance(error, BrokenPipeError):  # a reader that goes away, as head does, is no error
        return EXIT_OK
    say(name, f"stdout: cannot be written: {error.strerror}")
    return EXIT_ERROR
