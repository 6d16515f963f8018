"""A prompt on its way, as the daemon sees it."""

from __future__ import annotations

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
    """A prompt without its request, which may be large; its stream, and what its outputs have told so far."""

    __slots__ = (
        "_first_s",
        "_input_tokens",
        "_output_tokens",
        "_state",
        "_steps",
        "_steps_done",
        "created_s",
        "id",
        "kind",
        "model",
        "stream",
        "tenant",
        "worker_id",
    )

    def __init__(self, prompt: Prompt, stream: PromptStream, worker_id: int) -> None:
        self.id = prompt.id
        self.model = prompt.model
        self.tenant = prompt.tenant
        self.kind = _kind(prompt.request)
        """ "text", "image" or "audio"."""
        self.created_s = prompt.created_s
        self.stream = stream
        self.worker_id = worker_id
        """The worker that has it."""
        self._state = PromptState.WAITING
        self._input_tokens = 0
        self._output_tokens = 0
        self._steps_done: int | None = None
        self._steps: int | None = None
        self._first_s: float | None = None

    def note(self, output: Output, now_s: float) -> None:
        """Keep count of `output`."""
        if isinstance(output, Tokens):
            self._output_tokens += len(output.token_ids)
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
            output_tokens=self._output_tokens,
            steps_done=self._steps_done,
            steps=self._steps,
            first_token_s=self._first_s,
        )

    def _begin(self, now_s: float) -> None:
        self._first_s = now_s - self.created_s
        self._state = PromptState.RUNNING


def _kind(request: Request) -> str:
    if isinstance(request, ImageRequest):
        return "image"
    return "audio" if isinstance(request, AudioRequest) else "text"
