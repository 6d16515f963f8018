"""`aquahost result`: what a job has made."""

from __future__ import annotations

import base64
import binascii
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from aquahost.cli.files import check_folder, open_new
from aquahost.cli.job_words import JobArgument
from aquahost.cli.output import write_line
from aquahost.cli.surroundings import surroundings
from aquahost.errors import RequestError
from aquahost.file_names import numbered

OutputOption = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Where to save it; '-' is stdout. Images and sounds are saved under the job's id without it.",
    ),
]
ReplyOption = Annotated[bool, typer.Option("--reply", help="The API's whole reply instead, as it is.")]


class _Message(msgspec.Struct):
    content: str


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str = ""


class _Image(msgspec.Struct):
    b64_json: str


class _Reply(msgspec.Struct):
    choices: list[_Choice] = []
    data: list[_Image] = []
    output_format: str = "png"


def result(
    context: typer.Context, job_id: JobArgument, output: OutputOption = None, reply: ReplyOption = False
) -> None:
    """Write a job's text, or save its images or sound.

    Ends with 1 if the job is not completed, and says how it stands; with 4 if there is no such job. Names of saved
    files are written to stdout.

    Examples:

      aquahost result job_0f3b5c7d9e1a2b4c6d8e0f12

      aquahost result job_0f3b5c7d9e1a2b4c6d8e0f12 -o house.png

      aquahost result job_0f3b5c7d9e1a2b4c6d8e0f12 --reply | jq .usage
    """
    target = Path(output) if output not in (None, "-") else None
    if target is not None:
        check_folder(target)
    with surroundings(context).client() as client:
        job = client.jobs.get(job_id)
        data = client.jobs.result(job_id)
    if reply or job.media_type != "application/json":
        suffix = "json" if reply else (job.media_type or "").rpartition("/")[2] or "bin"
        _save_all([data], suffix, job.id, target, to_stdout=output == "-" or (reply and target is None))
        return
    made = _decoded(data)
    if made.data:
        images = [base64.b64decode(image.b64_json) for image in made.data]
        _save_all(images, made.output_format, job.id, target, to_stdout=output == "-")
    else:
        _write_text(made, target)


def _decoded(data: bytes) -> _Reply:
    try:
        return msgspec.json.decode(data, type=_Reply)
    except (msgspec.MsgspecError, binascii.Error) as error:
        raise RequestError(f"the result is of another version; look at it with --reply ({error})") from error


def _write_text(made: _Reply, target: Path | None) -> None:
    texts = [choice.message.content if choice.message else choice.text for choice in made.choices]
    text = "\n".join(texts)
    if target is not None:
        with open_new(target, "w") as file:
            file.write(text)
    elif sys.stdout.isatty():
        write_line("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text))
    else:
        write_line(text)


def _save_all(pieces: list[bytes], suffix: str, name: str, target: Path | None, *, to_stdout: bool) -> None:
    if to_stdout:
        if sys.stdout.isatty() and suffix != "json":
            raise typer.BadParameter("would write bytes to the terminal; pipe them on", param_hint="'--output'")
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    for number, piece in enumerate(pieces, 1):
        path = numbered(target or Path(f"{name}.{suffix}"), number)
        with open_new(path, "wb") as file:
            file.write(piece)
        write_line(str(path))
