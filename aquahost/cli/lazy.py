"""A command group that imports a command's module only when the command is called."""

from __future__ import annotations

import errno
import importlib
import inspect
from dataclasses import dataclass
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from aquahost.cli.exits import ExitCode, exit_code_of
from aquahost.cli.output import one_line, say
from aquahost.errors import AquahostError, ConfigError


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command as `--help` lists it, and where it is."""

    name: str
    place: str
    """"module:attribute", a function or a Typer app."""
    help: str
    """First line of the command's own help."""
    panel: str
    """Heading under which it is listed."""
    hidden: bool = False
    """Whether it is left out of the list, as another name of a command that is in it."""

    def load(self) -> Any:
        """The real command."""
        module, _, attribute = self.place.partition(":")
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, typer.Typer):
            return typer.main.get_command(target)
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        app.command(self.name, help=reflowed(inspect.getdoc(target) or ""))(target)
        return typer.main.get_command(app)

    def listed(self) -> TyperCommand:
        """A stand-in that knows just enough to be listed."""
        return TyperCommand(self.name, help=self.help, rich_help_panel=self.panel, hidden=self.hidden)


class LazyGroup(TyperGroup):
    """Lists `table` without importing anything, and reports our errors in one line with their exit codes."""

    table: ClassVar[tuple[LazyCommand, ...]] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for command in self.table:
            self.commands[command.name] = command.listed()

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As Typer does, with the real command in the place of its stand-in."""
        for command in self.table:
            if args and args[0] == command.name:
                self.commands[command.name] = command.load()
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; whatever we raise on purpose becomes a line on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except AquahostError as error:
            said_by = "" if isinstance(error, ConfigError) else "aquahost: "  # editors jump to FILE:LINE: at the start
            for line in str(error).splitlines() or [type(error).__name__]:
                say(f"{said_by}{one_line(line)}")
            raise typer.Exit(exit_code_of(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            say(f"aquahost: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
            raise typer.Exit(ExitCode.FAILED) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(ExitCode.INTERRUPTED) from error


def reflowed(help_text: str) -> str:
    """Help whose paragraphs are one line each, to be broken where the terminal ends; examples are left alone."""
    paragraphs = help_text.split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else p.replace("\n", " ") for p in paragraphs)
