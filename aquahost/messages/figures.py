"""What lending has come to since the daemon started: what `/metrics` counts and a snapshot does not hold."""

from __future__ import annotations

import msgspec

from aquahost.messages.prompts import FinishReason
from aquahost.messages.wire import Paged

RECALL_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets in which recalls are counted; slower ones are in `recall_count` alone."""


class Lent(msgspec.Struct, frozen=True, array_like=True):
    """Memory of GPU `donor` in use by the model `borrower` at this moment."""

    donor: int
    borrower: str
    nbytes: int


class RecallBucket(msgspec.Struct, frozen=True, array_like=True):
    """How many recalls took at most `upper_s`, those of the buckets before it included."""

    upper_s: float
    count: int


class LendingFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Counts never fall while the daemon lives, also when models are unloaded or their workers die."""

    lent: list[Lent] = []
    """One entry for each pair that has a lease."""
    paged: list[Paged] = []
    """Of all models since the daemon started, one entry for each pair of places."""
    recall_buckets: list[RecallBucket] = []
    """By rising `upper_s`, those of RECALL_BUCKETS_S; a recall's time is from the donor's wish until its last byte is
    back."""
    recall_sum_s: float = 0.0
    recall_count: int = 0


WAIT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets in which waits for the first token, and whole prompts, are counted."""
BETWEEN_TOKENS_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The same of the time between two tokens of a prompt."""


class DurationBucket(msgspec.Struct, frozen=True, array_like=True):
    """How many took at most `upper_s`, those of the buckets before it included."""

    upper_s: float
    count: int


class Durations(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram; what is longer than the last bucket's bound is in `count` alone."""

    buckets: list[DurationBucket] = []
    sum_s: float = 0.0
    count: int = 0


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """How many prompts ended in this way."""

    reason: FinishReason
    count: int


class Refused(msgspec.Struct, frozen=True, array_like=True):
    """How many prompts were refused with this HTTP status before a worker had them; `model` is "" where none of that
    name is hosted."""

    model: str
    status: int
    count: int


class ModelPrompts(msgspec.Struct, frozen=True, kw_only=True):
    """Of the prompts of one model since the daemon started, whatever became of its workers."""

    model: str
    ended: list[Ended]
    input_tokens: int
    """Of prompts that have ended."""
    output_tokens: int
    first_token: Durations
    """From arrival to the first token, or step."""
    between_tokens: Durations
    """Between two tokens of a prompt; of tokens that came together, their share of it."""
    whole: Durations
    """From arrival to end, however it ended."""


class ServingFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of what lies around the prompts."""

    jobs: dict[str, int] = {}
    """How many there are, by state."""
    limited: dict[str, int] = {}
    """How often a tenant's rate was used up, by what there was too much of: requests or tokens."""
    cut: dict[str, int] = {}
    """Connections that were ended for what their clients did, by why."""


class PromptFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Counts never fall while the daemon lives."""

    models: list[ModelPrompts] = []
    refused: list[Refused] = []
