"""Trains the demo models from a seed, on data that this script makes, and says how well they do.

python tools/train_demo_models.py chat paint sing
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from demo_training import chat_training, paint_training, sing_training
from demo_training.figures import Figures
from demo_training.schedule import Told

Bar = Callable[[str, int], Told]
"""Begins a progress bar of so many steps."""


def main() -> None:
    """Train what was named, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", choices=sorted(_MODELS), metavar="MODEL", help=", ".join(sorted(_MODELS)))
    parser.add_argument("--out", type=Path, default=Path("aquahost/demo/weights"), help="folder of the models' folders")
    parser.add_argument("--effort", type=float, default=1.0, help="share of the steps that the shipped models had")
    parser.add_argument("--only-check", action="store_true", help="measure the models that are there")
    given = parser.parse_args()
    console = Console(markup=False, highlight=False)
    for name in given.models:
        train, check = _MODELS[name]
        folder = given.out / name
        if not given.only_check:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
                train(folder, given.effort, _bars(progress))
        for line in check(folder):
            console.print(f"{name}: {line}")


def _bars(progress: Progress) -> Bar:
    def begin(what: str, steps: int) -> Told:
        task = progress.add_task(what, total=steps)

        def told(step: int, loss: float) -> None:
            progress.update(task, completed=step, description=f"{what}, loss {loss:.3f}")

        return told

    return begin


def _train_chat(folder: Path, effort: float, begin: Bar) -> None:
    steps = round(effort * chat_training.STEPS)
    chat_training.train(folder, steps=steps, told=begin("chat", steps))


def _check_chat(folder: Path) -> list[str]:
    figures = chat_training.evaluate(folder)
    return [
        f"{figures.parameters:,} parameters; perplexity {figures.perplexity:.3f} on conversations not seen",
        f"{figures.passed} of {figures.checked} prompts answered as asked",
        *(f"not: {asked!r} -> {came!r}" for asked, came in figures.failures),
    ]


def _train_paint(folder: Path, effort: float, begin: Bar) -> None:
    tokenizer = paint_training.new_tokenizer()
    steps = round(effort * paint_training.VAE_STEPS)
    vae = paint_training.train_vae(steps=steps, told=begin("paint, autoencoder", steps))
    steps = round(effort * paint_training.STEPS)
    paint_training.save(paint_training.train(vae, tokenizer, steps=steps, told=begin("paint", steps)), folder)


def _train_sing(folder: Path, effort: float, begin: Bar) -> None:
    tokenizer, model = sing_training.new_model()
    steps = round(effort * sing_training.CODEC_STEPS)
    sing_training.train_codec(model, steps=steps, told=begin("sing, codec", steps))
    steps = round(effort * sing_training.STEPS)
    sing_training.train(model, tokenizer, steps=steps, told=begin("sing", steps))
    sing_training.save(model, tokenizer, folder)


def _told(figures: Figures) -> list[str]:
    return [
        f"{figures.parameters:,} parameters",
        f"{figures.passed} of {figures.checked} prompts not seen in training made what they asked for",
        *(f"not: {asked}" for asked in figures.failures),
    ]


_MODELS: dict[str, tuple[Callable[[Path, float, Bar], None], Callable[[Path], list[str]]]] = {
    "chat": (_train_chat, _check_chat),
    "paint": (_train_paint, lambda folder: _told(paint_training.evaluate(folder))),
    "sing": (_train_sing, lambda folder: _told(sing_training.evaluate(folder))),
}

if __name__ == "__main__":
    main()
