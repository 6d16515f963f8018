"""X-Aquahost-*: what a reply's headers say of its prompts, and what a request's header may ask for."""

from __future__ import annotations

from starlette.requests import Request

from aquahost.api.prompts import PromptGroup
from aquahost.errors import InvalidRequestError

COMMENTS = "X-Aquahost-Comments"
"""Of a request: what a stream's comments are to tell, beside what they always do."""
QUEUE = "queue"
"""The one thing to ask for: how the prompts stand."""
PROMPT_ID = "X-Aquahost-Prompt-Id"
"""Of a reply: the prompts' ids, the first `MOST_IDS` of them, separated by commas."""
QUEUE_LENGTH = "X-Aquahost-Queue-Length"
"""Of a reply: live prompts of the model once these had joined its queue; of a 429, those that left no room."""
MOST_IDS = 8


def wants_comments(request: Request) -> bool:
    """Whether a stream is to tell how its prompts stand. Raises InvalidRequestError for an unknown wish."""
    wishes = [wish.strip() for value in request.headers.getlist(COMMENTS) for wish in value.split(",")]
    unknown = next((wish for wish in wishes if wish.lower() != QUEUE), None)
    if unknown is not None:
        raise InvalidRequestError(
            f"the header {COMMENTS} does not take '{unknown[:100]}'; allowed is '{QUEUE}'",
            param=COMMENTS,
            code="unknown_header_value",
        )
    return bool(wishes)


def prompt_headers(group: PromptGroup) -> dict[str, str]:
    """The headers of a reply to `group`."""
    return {
        PROMPT_ID.lower(): ", ".join(group.ids[:MOST_IDS]),
        QUEUE_LENGTH.lower(): str(group.queue_length),
        **group.reservation.headers(),
    }
