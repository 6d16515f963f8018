"""The arguments and options of `aquahost run`."""

from __future__ import annotations

from typing import Annotated

import typer

PromptArgument = Annotated[
    str | None,
    typer.Argument(metavar="PROMPT", help="What to ask; from stdin where it is missing or '-'.", show_default=False),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Where to save the reply; '-' is stdout. The suffix of an image (png, jpg, webp) or sound (wav, flac, "
        "mp3, opus, pcm) says its format. Images and sounds are saved under a name of their own without it.",
    ),
]

SystemOption = Annotated[str | None, typer.Option(help="text: instructions that come before the prompt.")]
RawOption = Annotated[bool, typer.Option("--raw", help="text: continue the prompt as it is, without a chat.")]
MaxTokensOption = Annotated[int | None, typer.Option(help="text: most tokens of the reply.")]
TemperatureOption = Annotated[float | None, typer.Option(help="text: 0 is greedy.")]
TopPOption = Annotated[float | None, typer.Option(help="text: keep the likeliest tokens of this probability.")]
StopOption = Annotated[list[str] | None, typer.Option(help="text: end the reply here; can be given often.")]
StatsOption = Annotated[bool, typer.Option("--stats", help="text: show tokens and speed at the end.")]

SeedOption = Annotated[int | None, typer.Option(help="Makes the reply repeatable.")]
StepsOption = Annotated[int | None, typer.Option(help="image, audio: denoising steps.")]
GuidanceOption = Annotated[float | None, typer.Option(help="image, audio: how closely to follow the prompt.")]
NegativeOption = Annotated[str | None, typer.Option(help="image, audio: what to avoid.")]
SizeOption = Annotated[str | None, typer.Option(metavar="WxH", help="image: pixels, like 512x512.")]
CountOption = Annotated[int | None, typer.Option("-n", "--count", help="image: how many.")]
DurationOption = Annotated[str | None, typer.Option(metavar="TIME", help="audio: length, like 8s.")]
