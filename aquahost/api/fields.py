"""Field types that the request schemas share, with the limits that hold for every model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_PROMPTS = 128
"""Most prompts of one request."""


class ApiModel(BaseModel):
    """A request body: unknown fields and wrong types are errors, null means "not given"."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


def refused(reason: str, *harmless: object) -> Any:
    """Metadata of a field whose feature we lack: only null and `harmless` values pass."""

    def check(value: object) -> object:
        if value is None or any(type(value) is type(known) and value == known for known in harmless):
            return value
        raise PydanticCustomError("unsupported", "{reason}", {"reason": reason})

    return AfterValidator(check)


def misfit(field: str, reason: str) -> PydanticCustomError:
    """The error of a field that does not fit the others."""
    return PydanticCustomError("misfit", "{reason}", {"field": field, "reason": reason})


Ignored = Annotated[Any, Field(description="Accepted for compatibility; has no effect.")]
ModelName = Annotated[str, Field(min_length=1, max_length=256, description="A model's name, as in GET /v1/models.")]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
TopK = Annotated[int, Field(ge=0, le=1 << 20)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
RepetitionPenalty = Annotated[float, Field(gt=0, le=100)]
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
TokenCount = Annotated[int, Field(ge=1, lt=1 << 31)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
Choices = Annotated[int, Field(ge=1, le=16)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Steps = Annotated[int, Field(ge=1, le=10_000)]
Guidance = Annotated[float, Field(ge=0, le=1000)]
StopText = Annotated[str, Field(min_length=1, max_length=1000)]


def seed_of(seed: int | None, index: int) -> int | None:
    """The seed of the request's prompt number `index`: each draws its own, and the same one again."""
    return None if seed is None else (seed + index) % (1 << 63)
