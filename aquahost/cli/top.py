"""`aquahost top`: the terminal UI."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aquahost.cli.exits import ExitCode
from aquahost.cli.files import check_record
from aquahost.cli.output import has_colour, say, write
from aquahost.cli.surroundings import Surroundings, surroundings

if TYPE_CHECKING:
    from aquahost_tui.frame import Frame

_USUAL_SIZE = (120, 40)
_MOST_CELLS = 500
_USUAL_RATE = 4.0

ReadonlyOption = Annotated[bool, typer.Option("--readonly", help="Only watch: nothing can be loaded or cancelled.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Write one picture to stdout and exit.")]
SizeOption = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="--once: columns and lines, like 160x50; the terminal's without it."),
]
RecordOption = Annotated[
    Path | None,
    typer.Option("--record", metavar="FILE", dir_okay=False, help="Write what is seen to a file; packed if named .gz."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="--record: replace what the file holds; without it that is refused.")
]
ReplayOption = Annotated[
    Path | None,
    typer.Option("--replay", metavar="FILE", exists=True, dir_okay=False, help="Play a recording; needs no daemon."),
]
SpeedOption = Annotated[
    float | None, typer.Option(metavar="X", min=0.01, max=1000, help="--replay: so many times as fast.")
]
ThemeOption = Annotated[str | None, typer.Option(metavar="NAME", help="Colours; a wrong name lists them all.")]
RateOption = Annotated[
    float | None, typer.Option("--per-s", metavar="N", min=0.1, max=30, help="Pictures a second; 4 without it.")
]


def top(
    context: typer.Context,
    readonly: ReadonlyOption = False,
    once: OnceOption = False,
    size: SizeOption = None,
    record: RecordOption = None,
    overwrite: OverwriteOption = False,
    replay: ReplayOption = None,
    speed: SpeedOption = None,
    theme: ThemeOption = None,
    per_s: RateOption = None,
) -> None:
    """Watch and steer GPUs, models, leases and prompts, live; also: aquahost tui.

    Keys: 1 to 7 go to the screens, ? shows all keys, q leaves. The daemon goes on without it. Where none runs, it
    waits for one.

    Examples:

      aquahost top

      aquahost top --once | less    # one picture as text

      aquahost top --record burst.jsonl.gz

      aquahost top --replay burst.jsonl.gz --speed 2

      aquahost tui --readonly --theme nord
    """
    _check(once=once, size=size, record=record, replay=replay, speed=speed)
    _check_watching(once=once, replay=replay, readonly=readonly, per_s=per_s)
    check_record(record, overwrite=overwrite)
    around = surroundings(context)
    _check_theme(theme)
    theme = theme or _fitting_theme()
    if once:
        picture = _picture(around, replay, _size(size), theme)
        write(picture.coloured(sys.stdout) if has_colour(sys.stdout) else picture.plain())
        if picture.trouble:
            say(f"aquahost: {picture.trouble}; the picture shows what stands before that")
        return
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        say("aquahost: top needs a terminal; for one picture as text: aquahost top --once")
        raise typer.Exit(ExitCode.USAGE)
    from aquahost_tui import run

    if replay is not None:
        code = run.watch_recording(replay, speed=speed or 1.0, theme=theme)
    else:
        code = run.watch_daemon(
            around.client, per_s=per_s or _USUAL_RATE, readonly=readonly, record=record, theme=theme
        )
    raise typer.Exit(code)


def _picture(around: Surroundings, replay: Path | None, size: tuple[int, int], theme: str | None) -> Frame:
    from aquahost_tui import frame

    if replay is not None:
        return frame.draw_recording(replay, size=size, theme=theme)
    with around.client(timeout_s=5.0) as client:
        return frame.draw_daemon(client, around.now_s, around.sleep, size=size, theme=theme)


def _check(*, once: bool, size: str | None, record: Path | None, replay: Path | None, speed: float | None) -> None:
    """Options that make no sense together are told, not overlooked."""
    if size is not None and not once:
        raise typer.BadParameter("belongs to --once", param_hint="'--size'")
    if record is not None and (once or replay is not None):
        raise typer.BadParameter(f"excludes {'--once' if once else '--replay'}", param_hint="'--record'")
    if speed is not None and (once or replay is None):
        raise typer.BadParameter("belongs to --replay", param_hint="'--speed'")


def _check_watching(*, once: bool, replay: Path | None, readonly: bool, per_s: float | None) -> None:
    """The same for options that are only about watching a daemon."""
    if once or replay is not None:
        other = "--once" if once else "--replay"
        if readonly:
            raise typer.BadParameter(f"goes without saying with {other}", param_hint="'--readonly'")
        if per_s is not None:
            raise typer.BadParameter(f"excludes {other}", param_hint="'--per-s'")


def _size(given: str | None) -> tuple[int, int]:
    """Columns and lines: as given, else the terminal's, at least as many as the UI needs."""
    from aquahost_tui.sizes import LEAST_HEIGHT, LEAST_WIDTH

    if given is None:
        width, height = shutil.get_terminal_size(_USUAL_SIZE)
        return max(width, LEAST_WIDTH), max(height, LEAST_HEIGHT)
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", given, re.ASCII)
    if match is None:
        raise typer.BadParameter("write columns x lines, like 160x50", param_hint="'--size'")
    width, height = int(match[1]), int(match[2])
    if not (LEAST_WIDTH <= width <= _MOST_CELLS and LEAST_HEIGHT <= height <= _MOST_CELLS):
        raise typer.BadParameter(
            f"must be from {LEAST_WIDTH}x{LEAST_HEIGHT} to {_MOST_CELLS}x{_MOST_CELLS}", param_hint="'--size'"
        )
    return width, height


def _check_theme(name: str | None) -> None:
    if name is None:
        return
    from aquahost_tui.themes import theme_names

    if name not in (names := theme_names()):
        raise typer.BadParameter(f"there is no theme {name}; there are: {', '.join(names)}", param_hint="'--theme'")


def _fitting_theme() -> str | None:
    """A theme of 16 colours where the terminal has no more; None where the usual one does."""
    from rich.console import Console

    from aquahost_tui.themes import SIXTEEN

    return SIXTEEN.name if Console().color_system == "standard" else None
