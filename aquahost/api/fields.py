"""Field types that the request schemas share, with the limits that hold for every model."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_PROMPTS = 128
"""Most prompts of one request."""


MAX_BIASES = 1024
"""Most tokens that a request may bias."""


class ApiModel(BaseModel):
    """A request body: unknown fields and wrong types are errors, null means "not given".

    Validating one makes few errors however many mistakes it has: each costs a kilobyte, and only the first is told.
    Hence `fail_fast` on all lists and `at_most` on dictionaries; unknown fields are looked for here.
    """

    model_config = ConfigDict(
        extra="ignore",  # but see below
        json_schema_extra={"additionalProperties": False},
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    @model_validator(mode="wrap")
    @classmethod
    def _only_known_fields(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Once the known fields are right, refuse the first unknown one; pydantic would make an error for each."""
        model = validate(value)
        fields = cls.model_fields
        if isinstance(value, dict) and not value.keys() <= fields.keys():
            name = next(key for key in value if key not in fields)
            near = difflib.get_close_matches(name[:100], fields, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise PydanticCustomError("unknown", "{hint}", {"name": name, "hint": hint})
        return model


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


def at_most(count: int) -> Any:
    """Metadata of a dictionary that is not looked into if it is longer; pydantic would count at the end."""

    def check(value: object) -> object:
        if isinstance(value, dict) and len(value) > count:
            raise PydanticCustomError("too_long", "at most {count} keys are allowed", {"count": count})
        return value

    return BeforeValidator(check)


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
Priority = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
Guidance = Annotated[float, Field(ge=0, le=1000)]
LogitBias = Annotated[dict[str, Bias], Field(max_length=MAX_BIASES), at_most(MAX_BIASES)]
StopText = Annotated[str, Field(min_length=1, max_length=1000)]


class PromptBody(ApiModel):
    """The body of a request for one model."""

    model: ModelName


def seed_of(seed: int | None, index: int) -> int | None:
    """The seed of the request's prompt number `index`: each draws its own, and the same one again."""
    return None if seed is None else (seed + index) % (1 << 63)
