"""What is said of a model that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from aquahost.errors import UnknownModelError


def unknown_model(name: str, known: Collection[str]) -> UnknownModelError:
    """The error that names the nearest of the `known` models: of those that whoever asks may know of."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known) or 'none'}"
    return UnknownModelError(f"no model {name!r}{hint}", param="model", code="model_not_found")
