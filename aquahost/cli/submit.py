"""`aquahost submit`: prompts as durable jobs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from aquahost.cli import run_options as given
from aquahost.cli.ask import Ask, options_of, read_prompt
from aquahost.cli.models import ModelArgument, find_models
from aquahost.cli.output import Form, FormOption, write_data, write_line
from aquahost.cli.surroundings import surroundings
from aquahost.messages.jobs import JobView

PromptsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROMPT...",
        help="What to ask, a job each; from stdin where it is missing or '-'.",
        show_default=False,
    ),
]
_MEDIA = {"image": ("/v1/images/generations", "prompt"), "audio": ("/v1/audio/speech", "input")}
"""By the model's kind, the API's route and the field that takes the prompt."""


def submit(
    context: typer.Context,
    model: ModelArgument,
    prompts: PromptsArgument = None,
    output: FormOption = Form.TABLE,
    system: given.SystemOption = None,
    raw: given.RawOption = False,
    max_tokens: given.MaxTokensOption = None,
    temperature: given.TemperatureOption = None,
    top_p: given.TopPOption = None,
    stop: given.StopOption = None,
    seed: given.SeedOption = None,
    steps: given.StepsOption = None,
    guidance: given.GuidanceOption = None,
    negative: given.NegativeOption = None,
    size: given.SizeOption = None,
    count: given.CountOption = None,
    duration: given.DurationOption = None,
) -> None:
    """Queue prompts as jobs that outlive you and the daemon.

    Writes an id for each. Once it is written the job is on disk, and will have one result, also if the daemon or the
    model's worker dies meanwhile. Jobs go behind prompts that somebody waits for. A model that is not loaded is loaded.

    Examples:

      aquahost submit chat "Why is the sky blue?" --max-tokens 200

      id=$(aquahost submit paint "a red house" --seed 7) && aquahost wait $id && aquahost result $id -o house.png

      aquahost submit chat - < question.txt
    """
    options = options_of(context.params)
    texts = [read_prompt(prompt) for prompt in prompts] if prompts else [read_prompt(None)]
    jobs: list[JobView] = []
    with surroundings(context).client() as client:
        kind = find_models(client.snapshot(), [model])[0].kind
        for text in texts:
            ask = Ask(model=model, prompt=text, output=None, to_stdout=False, options=options)
            ask.check_options(kind)
            jobs.append(client.jobs.submit(*_request(ask, kind)))
            if output is Form.TABLE:
                write_line(jobs[-1].id)
    if output is not Form.TABLE:
        write_data(jobs, output)


def _request(ask: Ask, kind: str) -> tuple[str, dict[str, Any]]:
    """The API's route, and the body that it takes."""
    if kind in _MEDIA:
        endpoint, field = _MEDIA[kind]
        return endpoint, {"model": ask.model, field: ask.prompt, **ask.fields()}
    if ask.options.get("--raw"):
        return "/v1/completions", {"model": ask.model, "prompt": ask.prompt, **ask.fields()}
    return "/v1/chat/completions", {"model": ask.model, "messages": ask.messages(), **ask.fields()}
