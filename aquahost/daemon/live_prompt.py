"""A prompt on its way, as the daemon sees it."""

from __future__ import annotations

import msgspec

from aquahost.daemon.prompt_stream import PromptStream
from aquahost.messages.prompts import (
    Accepted,
    AudioRequest,
    ImageRequest,
    Output,
    Progress,
    Prompt,
    PromptState,
    Request,
    StateChanged,
    Tokens,
)
from aquahost.messages.snapshot import PromptView


class LivePrompt:
    """A prompt, its stream, and what its outputs have told so far: all that another worker needs to go on with it."""

    __slots__ = (
        "_first_s",
        "_input_tokens",
        "_produced_ids",
        "_prompt",
        "_state",
        "_steps",
        "_steps_done",
        "created_s",
        "id",
        "interruptions",
        "is_accepted",
        "kind",
        "model",
        "stream",
        "tenant",
        "worker_id",
    )

    def __init__(self, prompt: Prompt, stream: PromptStream) -> None:
        self._prompt = prompt
        self.id = prompt.id
        self.model = prompt.model
        self.tenant = prompt.tenant
        self.kind = _kind(prompt.request)
        """ "text", "image" or "audio"."""
        self.created_s = prompt.created_s
        self.stream = stream
        self.worker_id: int | None = None
        """The worker that has it; None while it waits for one."""
        self.is_accepted = False
        self.interruptions = 0
        """How often a worker that had it ended."""
        self._state = PromptState.WAITING
        self._input_tokens = 0
        self._produced_ids: list[int] = []
        self._steps_done: int | None = None
        self._steps: int | None = None
        self._first_s: float | None = None

    def note(self, output: Output, now_s: float) -> None:
        """Keep count of `output`."""
        if isinstance(output, Tokens):
            self._produced_ids += output.token_ids
            if self._first_s is None:
                self._begin(now_s)
        elif isinstance(output, Progress):
            self._steps_done, self._steps = output.step, output.steps
            if self._first_s is None:
                self._begin(now_s)
        elif isinstance(output, StateChanged):
            self._state = output.state
        elif isinstance(output, Accepted):
            self._input_tokens, self._steps = output.input_tokens, output.steps
            self.is_accepted = True

    @property
    def progress(self) -> int:
        """Tokens or steps done; grows with every sign that the worker survived working on it."""
        return len(self._produced_ids) + (self._steps_done or 0)

    def interrupt(self) -> None:
        """Its worker ended, and with it all that was not put out."""
        self.worker_id = None
        self.interruptions += 1
        self._state = PromptState.WAITING
        self._steps_done = None

    def to_go_on(self) -> Prompt:
        """What a worker must be given for the reply to go on where it stands."""
        if not self._produced_ids:
            return self._prompt
        return msgspec.structs.replace(self._prompt, produced_ids=self._produced_ids)

    def view(self, now_s: float) -> PromptView:
        """What a snapshot shows of it."""
        return PromptView(
            id=self.id,
            model=self.model,
            tenant=self.tenant,
            kind=self.kind,
            state=self._state,
            age_s=now_s - self.created_s,
            input_tokens=self._input_tokens,
            output_tokens=len(self._produced_ids),
            steps_done=self._steps_done,
            steps=self._steps,
            first_token_s=self._first_s,
            interruptions=self.interruptions,
        )

    def _begin(self, now_s: float) -> None:
        self._first_s = now_s - self.created_s
        self._state = PromptState.RUNNING


def _kind(request: Request) -> str:
    if isinstance(request, ImageRequest):
        return "image"
    return "audio" if isinstance(request, AudioRequest) else "text"
