"""AQUA's evaluation rebuilt on the simulator: what docs/evaluation.md shows."""
