"""A command of several, which lists when nothing else is said: `latentlake spaces`."""

from __future__ import annotations

import click

from latentlake.errors import nearest_hint

_DEFAULT = "list"


class ListingGroup(click.Group):
    """A group whose command `list` is what its bare name does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` in front of options, and of nothing."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Look the command up; a wrong name is told the nearest right one."""
        if args and args[0] not in self.commands:
            listed = ", ".join(self.commands)
            hint = nearest_hint(args[0], self.commands)
            ctx.fail(f"no command '{args[0]}'.{hint} There are: {listed}.")
        return super().resolve_command(ctx, args)
