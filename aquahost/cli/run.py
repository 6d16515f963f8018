"""`aquahost run`: one prompt to one model."""

from __future__ import annotations

from pathlib import Path

import typer

from aquahost.cli import run_options as given
from aquahost.cli.ask import Ask, options_of, read_prompt
from aquahost.cli.files import check_folder
from aquahost.cli.models import ModelArgument
from aquahost.cli.surroundings import surroundings


def run(
    context: typer.Context,
    model: ModelArgument,
    prompt: given.PromptArgument = None,
    output: given.OutputOption = None,
    system: given.SystemOption = None,
    raw: given.RawOption = False,
    max_tokens: given.MaxTokensOption = None,
    temperature: given.TemperatureOption = None,
    top_p: given.TopPOption = None,
    stop: given.StopOption = None,
    stats: given.StatsOption = False,
    seed: given.SeedOption = None,
    steps: given.StepsOption = None,
    guidance: given.GuidanceOption = None,
    negative: given.NegativeOption = None,
    size: given.SizeOption = None,
    count: given.CountOption = None,
    duration: given.DurationOption = None,
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
    around = surroundings(context)
    ask = Ask(
        model=model,
        prompt=read_prompt(prompt),
        output=Path(output) if output not in (None, "-") else None,
        to_stdout=output == "-",
        options=options_of(context.params),
    )
    if ask.output:
        check_folder(ask.output)
    with around.client() as client:
        kind = ask.ready_model(client, around.sleep)
        if kind in ("image", "audio"):
            from aquahost.cli.run_media import run_media

            run_media(client, ask, kind)
        else:
            from aquahost.cli.run_text import run_text

            run_text(client, ask, around.now_s)
