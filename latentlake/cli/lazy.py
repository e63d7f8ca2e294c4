"""A click group whose help imports no command: they are imported when they are called."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import click

from latentlake.cli.terminal import shown
from latentlake.errors import LatentlakeError, nearest_hint

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
BROKEN_PIPE = 141
"""128 + SIGPIPE: what a program in C ends with when its reader has gone."""


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command before it is imported.

    Attributes:
        target: "module:attribute" of the click command.
        summary: the line that the group's help shows; the first line of the command's own help.
        section: the heading it stands under.
    """

    target: str
    summary: str
    section: str


class RefusedError(click.ClickException):
    """A LatentlakeError on its way to the user: one line on stderr, exit status 1."""

    def show(self, file: Any = None) -> None:
        """Print the message on one line."""
        click.echo(f"latentlake: {shown(' '.join(self.message.split()))}", err=True, file=file)


class LazyGroup(click.Group):
    """Commands by a static table, errors with their exit status."""

    def __init__(self, *args: Any, table: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the names in the table's order."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name].target.partition(":")
        return cast("click.Command", getattr(import_module(module), attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Look the command up; a wrong name is told the nearest right one."""
        if args and args[0] not in self.table and not args[0].startswith("-"):
            ctx.fail(f"no command '{args[0]}'.{nearest_hint(args[0], self.table)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table under its headings, without importing a command."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.table.items():
            sections.setdefault(command.section, []).append((name, command.summary))
        width = max(map(len, self.table)) + 2
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width - 2), text) for name, text in rows])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it raises on purpose becomes a line and an exit status."""
        try:
            return super().invoke(ctx)
        except LatentlakeError as error:
            raise RefusedError(str(error)) from error
        except KeyboardInterrupt:
            click.echo("\nlatentlake: interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            leave_pipe()
            ctx.exit(BROKEN_PIPE)


def leave_pipe() -> None:
    """Let stdout go nowhere, so that its last flush at exit does not complain once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
