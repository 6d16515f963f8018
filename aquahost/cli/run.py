"""`aquahost run`: one prompt to one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aquahost.cli.ask import Ask, options_for, read_prompt
from aquahost.cli.models import ModelArgument
from aquahost.cli.surroundings import surroundings


def run(
    context: typer.Context,
    model: ModelArgument,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT", help="What to ask; from stdin where it is missing or '-'.", show_default=False
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where to save the reply; '-' is stdout. The suffix of an image (png, jpg, webp) or sound (wav, flac, "
            "mp3, opus, pcm) says its format. Images and sounds are saved under a name of their own without it.",
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="text: instructions that come before the prompt.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="text: continue the prompt as it is, without a chat.")] = False,
    max_tokens: Annotated[int | None, typer.Option(help="text: most tokens of the reply.")] = None,
    temperature: Annotated[float | None, typer.Option(help="text: 0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(help="text: keep the likeliest tokens of this probability.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="text: end the reply here; can be given often.")] = None,
    stats: Annotated[bool, typer.Option("--stats", help="text: show tokens and speed at the end.")] = False,
    seed: Annotated[int | None, typer.Option(help="Makes the reply repeatable.")] = None,
    steps: Annotated[int | None, typer.Option(help="image, audio: denoising steps.")] = None,
    guidance: Annotated[float | None, typer.Option(help="image, audio: how closely to follow the prompt.")] = None,
    negative: Annotated[str | None, typer.Option(help="image, audio: what to avoid.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="image: pixels, like 512x512.")] = None,
    count: Annotated[int | None, typer.Option("-n", "--count", help="image: how many.")] = None,
    duration: Annotated[str | None, typer.Option(metavar="TIME", help="audio: length, like 8s.")] = None,
) -> None:
    """Ask a model: stream text, save an image or a sound.

    Text is written to stdout as it comes. An image or a sound is saved, and its file's name written to stdout.
    A model that is not loaded is loaded first. Ctrl-C cancels the prompt.

    Examples:

      aquahost run chat "Why is the sky blue?" --max-tokens 200

      git diff | aquahost run chat --system "Write a commit message for this."

      aquahost run paint "a red house" -o house.png --size 512x512 --seed 7

      aquahost run sing "slow piano" --duration 8s -o - | aplay
    """
    given = {
        "--system": system,
        "--raw": raw or None,
        "--max-tokens": max_tokens,
        "--temperature": temperature,
        "--top-p": top_p,
        "--stop": stop or None,
        "--stats": stats or None,
        "--seed": seed,
        "--steps": steps,
        "--guidance": guidance,
        "--negative": negative,
        "--size": size,
        "--count": count,
        "--duration": duration,
    }
    around = surroundings(context)
    ask = Ask(
        model=model,
        prompt=read_prompt(prompt),
        output=Path(output) if output not in (None, "-") else None,
        to_stdout=output == "-",
        options=options_for({flag: value for flag, value in given.items() if value is not None}),
    )
    with around.client() as client:
        kind = ask.ready_model(client, around.sleep)
        if kind in ("image", "audio"):
            from aquahost.cli.run_media import run_media

            run_media(client, ask, kind)
        else:
            from aquahost.cli.run_text import run_text

            run_text(client, ask, around.now_s)
