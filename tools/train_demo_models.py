"""Trains the demo models from a seed, on data that this script makes, and says how well they do.

python tools/train_demo_models.py chat --out aquahost/demo/weights
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from demo_training import chat_training


def main() -> None:
    """Train what was named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["chat"])
    parser.add_argument("--out", type=Path, default=Path("aquahost/demo/weights"), help="folder of the models' folders")
    parser.add_argument("--steps", type=int, help="optimizer steps; the default is what the shipped model has")
    parser.add_argument("--only-check", action="store_true", help="measure the model that is there")
    given = parser.parse_args()
    folder = given.out / given.model
    if not given.only_check:
        _train_chat(folder, given.steps or chat_training.STEPS)
    figures = chat_training.evaluate(folder)
    console = Console(markup=False, highlight=False)
    console.print(f"{figures.parameters:,} parameters; perplexity {figures.perplexity:.3f} on conversations not seen")
    console.print(f"{figures.passed} of {figures.checked} prompts answered as asked")
    for asked, came in figures.failures:
        console.print(f"  {asked!r} -> {came!r}")


def _train_chat(folder: Path, steps: int) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task("chat", total=steps)

        def told(step: int, loss: float) -> None:
            bar.update(task, completed=step, description=f"chat, loss {loss:.3f}")

        chat_training.train(folder, steps=steps, told=told)


if __name__ == "__main__":
    main()
