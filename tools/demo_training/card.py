"""The model cards: the texts of `cards/`, with the figures that were measured."""

from __future__ import annotations

from pathlib import Path

from demo_training.figures import Figures


def write_card(name: str, folder: Path, figures: Figures) -> None:
    """Write the README.md of the model in `folder`."""
    text = (Path(__file__).parent / "cards" / f"{name}.md").read_text(encoding="utf-8")
    weights_bytes = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    card = text.format(
        parameters=f"{figures.parameters:,}",
        size=f"{weights_bytes / 1e6:.1f} MB",
        passed=f"{figures.passed} of {figures.checked}",
        **figures.more,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
