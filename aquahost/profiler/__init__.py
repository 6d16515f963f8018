"""Profiles of models: measured on this machine, or worked out from a model's config and a GPU's data sheet."""
