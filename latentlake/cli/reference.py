"""All commands as Markdown: `python -m latentlake.cli.reference > docs/reference/cli.md`."""

from __future__ import annotations

import click

from latentlake.cli.main import COMMANDS, cli

_WIDTH = 96

_HEAD = """\
# Commands

What `latentlake COMMAND --help` says, by `python -m latentlake.cli.reference`; tests compare.

| exit status | means |
|---|---|
| 0 | done |
| 1 | refused, with the reason and the way out on one line of stderr |
| 2 | wrong usage |
| 3 | a run went well, but put inputs into quarantine that were not there before |
| 130 | interrupted by Ctrl-C; what was finished is kept |

A bug in latentlake itself ends in a traceback: please report it.
"""


def reference() -> str:
    """Return the page: the group's help, then each command's."""
    parts = [_HEAD, f"```text\n{help_text(None)}\n```\n"]
    parts += [f"## {name}\n\n```text\n{help_text(name)}\n```\n" for name in command_names()]
    return "\n".join(parts)


def command_names() -> list[str]:
    """Return all commands, those inside of another one after it: "spaces", "spaces list"."""
    names = []
    for name in COMMANDS:
        names.append(name)
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            names += [f"{name} {inner}" for inner in command.commands]
    return names


def help_text(name: str | None) -> str:
    """Return what `--help` prints for a command, or for the group, at a fixed width."""
    settings = {"terminal_width": _WIDTH, "help_option_names": ["-h", "--help"]}
    group = click.Context(cli, info_name="latentlake", **settings)  # type: ignore[arg-type]
    if name is None:
        return cli.get_help(group)
    context: click.Context = group
    for part in name.split():
        parent = context.command
        command = parent.get_command(context, part) if isinstance(parent, click.Group) else None
        if command is None:
            raise KeyError(name)
        context = click.Context(command, context, part, **settings)  # type: ignore[arg-type]
    return context.command.get_help(context)


if __name__ == "__main__":
    print(reference(), end="")
