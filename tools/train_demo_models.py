"""Trains the demo models from a seed, on data that this script makes, and says how well they do.

python tools/train_demo_models.py chat paint sing

A training that was stopped goes on when it is started again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from demo_training import chat_training, paint_training, sing_training
from demo_training.card import write_card
from demo_training.figures import Figures
from demo_training.progress import Begin, progress


def main() -> None:
    """Train what was named, and measure it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", choices=sorted(_MODELS), metavar="MODEL", help=", ".join(sorted(_MODELS)))
    parser.add_argument("--out", type=Path, default=Path("aquahost/demo/weights"), help="folder of the models' folders")
    parser.add_argument("--effort", type=float, default=1.0, help="share of the steps that the shipped models had")
    parser.add_argument("--kept", type=Path, default=Path("build/demo-training"), help="folder for stopped trainings")
    parser.add_argument("--only-check", action="store_true", help="measure the models that are there")
    given = parser.parse_args()
    console = Console(markup=False, highlight=False)
    for name in given.models:
        train, check = _MODELS[name]
        folder, kept = given.out / name, given.kept / name
        if not given.only_check:
            with progress(console) as begin:
                train(folder, given.effort, begin, kept)
        figures = check(folder)
        write_card(name, folder, figures)
        if not given.only_check:
            for stopped in kept.glob("*.pt"):
                stopped.unlink()
        for line in _lines(figures):
            console.print(f"{name}: {line}", soft_wrap=True)


def _train_chat(folder: Path, effort: float, begin: Begin, kept: Path) -> None:
    steps = round(effort * chat_training.STEPS)
    chat_training.train(folder, steps=steps, told=begin("chat", steps), kept=kept)


def _train_paint(folder: Path, effort: float, begin: Begin, kept: Path) -> None:
    tokenizer = paint_training.new_tokenizer()
    steps = round(effort * paint_training.VAE_STEPS)
    vae = paint_training.train_vae(steps=steps, told=begin("paint, autoencoder", steps), kept=kept)
    steps = round(effort * paint_training.STEPS)
    trained = paint_training.train(vae, tokenizer, steps=steps, told=begin("paint", steps), kept=kept)
    paint_training.save(trained, folder)


def _train_sing(folder: Path, effort: float, begin: Begin, kept: Path) -> None:
    tokenizer, model = sing_training.new_model()
    steps = round(effort * sing_training.CODEC_STEPS)
    sing_training.train_codec(model, steps=steps, told=begin("sing, codec", steps), kept=kept)
    steps = round(effort * sing_training.STEPS)
    sing_training.train(model, tokenizer, steps=steps, told=begin("sing", steps), kept=kept)
    sing_training.save(model, tokenizer, folder)


def _lines(figures: Figures) -> list[str]:
    return [
        f"{figures.parameters:,} parameters",
        *(f"{what}: {value}" for what, value in figures.more.items()),
        f"{figures.passed} of {figures.checked} prompts not seen in training got what they asked for",
        *(f"not: {failure}" for failure in figures.failures),
    ]


_MODELS: dict[str, tuple[Callable[[Path, float, Begin, Path], None], Callable[[Path], Figures]]] = {
    "chat": (_train_chat, chat_training.evaluate),
    "paint": (_train_paint, paint_training.evaluate),
    "sing": (_train_sing, sing_training.evaluate),
}

if __name__ == "__main__":
    main()
