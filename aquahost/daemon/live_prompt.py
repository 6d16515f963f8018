"""A prompt on its way, as the daemon sees it."""

from __future__ import annotations

import msgspec

from aquahost.daemon.notices import Notices
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.daemon.reply_so_far import ReplySoFar
from aquahost.messages.prompts import (
    Accepted,
    AudioRequest,
    Finished,
    ImageRequest,
    Notice,
    Output,
    Progress,
    Prompt,
    PromptState,
    Request,
    StateChanged,
    TextRequest,
    Tokens,
)
from aquahost.messages.snapshot import PromptView
from aquahost.messages.wire import Standing
from aquahost.messages.words import AT_WORK, standing_words


class LivePrompt:
    """A prompt, its stream, and what its outputs have told so far: all that another worker needs to go on with it."""

    __slots__ = (
        "_input_tokens",
        "_next_slice_s",
        "_notices",
        "_place",
        "_position",
        "_produced_ids",
        "_prompt",
        "_served_s",
        "_service_s",
        "_since_s",
        "_state",
        "_steps",
        "_steps_done",
        "_waited_s",
        "begun_s",
        "created_s",
        "first_s",
        "id",
        "interruptions",
        "is_accepted",
        "kind",
        "last_s",
        "model",
        "reply",
        "stream",
        "tenant",
        "worker_id",
    )

    def __init__(self, prompt: Prompt, stream: PromptStream, notices: Notices | None = None) -> None:
        """With `notices` its reader is told how it stands."""
        self._prompt = prompt
        self._notices = notices
        self.id = prompt.id
        self.model = prompt.model
        self.tenant = prompt.tenant
        self.kind = _kind(prompt.request)
        """ "text", "image" or "audio"."""
        self.created_s = prompt.created_s
        self.stream = stream
        self.reply = ReplySoFar(prompt.id)
        self.worker_id: int | None = None
        """The worker that has it; None while it waits for one."""
        self.is_accepted = False
        self.interruptions = 0
        """How often a worker that had it ended."""
        self._state = PromptState.WAITING
        self._since_s = prompt.created_s
        self._waited_s = 0.0
        """In states before this one."""
        self._served_s = 0.0
        """Device time it had from workers that ended."""
        self._service_s = 0.0
        self._place = ""
        self._position: int | None = None
        self._next_slice_s: float | None = None
        self._input_tokens = 0
        self._produced_ids: list[int] = []
        self._steps_done: int | None = None
        self._steps: int | None = None
        self.first_s: float | None = None
        """Seconds from acceptance to the first token or step; None before that."""
        self.begun_s: float | None = None
        """When it first took part in a step; None before that."""
        self.last_s: float | None = None
        """When the last token, or the first step, came; None before that."""

    def note(self, output: Output, now_s: float) -> None:
        """Keep count of `output`."""
        if isinstance(output, Tokens):
            self._produced_ids += output.token_ids
            self.reply.add_text(output.text)
            if self.first_s is None:
                self._begin(now_s)
        elif isinstance(output, Progress):
            self._steps_done, self._steps = output.step, output.steps
            self.reply.come_to(output)
            if self.first_s is None:
                self._begin(now_s)
        elif isinstance(output, StateChanged):
            self._enter(output.state, now_s)
            if output.state in AT_WORK:
                self.tell(now_s)  # of others more is to be told with the next standing
        elif isinstance(output, Accepted):
            self._input_tokens, self._steps = output.input_tokens, output.steps
            self.is_accepted = True

    def end(self, finished: Finished) -> None:
        """It has ended; whoever ended it may not know how far it had come."""
        self._service_s = max(self._service_s, finished.service_s)
        self.reply.end(
            msgspec.structs.replace(
                finished,
                input_tokens=finished.input_tokens or self._input_tokens,
                output_tokens=finished.output_tokens or len(self._produced_ids),
            )
        )

    def stand(self, standing: Standing) -> None:
        """Keep how its engine says it stands."""
        self._service_s, self._place = standing.service_s, standing.place
        self._position, self._next_slice_s = standing.position, standing.next_slice_s

    def tell(self, now_s: float) -> None:
        """Tell its reader how it stands, if the reader asked, it is known and the words are new."""
        if self._notices is None or not self.is_accepted or self.worker_id is None:
            return
        if self._position is not None:
            words = standing_words(self._state, self._place, self._position, self._next_slice_s)
            if self._notices.is_news(self._state, words, now_s):
                self.stream.feed(Notice(self.id, words))

    @property
    def progress(self) -> int:
        """Tokens or steps done; steps are lost with their worker."""
        return len(self._produced_ids) + (self._steps_done or 0)

    def interrupt(self, now_s: float) -> None:
        """Its worker ended, and with it all that was not put out."""
        self.worker_id = None
        self.interruptions += 1
        self._enter(PromptState.WAITING, now_s)
        self._served_s += self._service_s
        self._service_s = 0.0
        self._steps_done = None
        if self._notices is not None:
            self._notices.forget()

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
            first_token_s=self.first_s,
            waited_s=self._waited(now_s),
            max_tokens=_max_tokens(self._prompt.request),
            interruptions=self.interruptions,
            service_s=self._served_s + self._service_s,
            place=self._place,
            position=self._position,
            next_slice_s=self._next_slice_s,
        )

    def _begin(self, now_s: float) -> None:
        self.first_s = now_s - self.created_s
        if self._state is not PromptState.RUNNING:
            self._enter(PromptState.RUNNING, now_s)
            self.tell(now_s)

    def _waited(self, now_s: float) -> float:
        """How long it has taken no part in steps."""
        return self._waited_s + (0.0 if self._state in AT_WORK else now_s - self._since_s)

    def _enter(self, state: PromptState, now_s: float) -> None:
        self._waited_s, self._since_s = self._waited(now_s), now_s
        self._state = state
        if self.begun_s is None and state in AT_WORK:
            self.begun_s = now_s
        # The last standing is of the state before; where it stands in line now is known with the next one.
        self._place = ""
        self._position = self._next_slice_s = 0 if state in AT_WORK else None


def _kind(request: Request) -> str:
    if isinstance(request, ImageRequest):
        return "image"
    return "audio" if isinstance(request, AudioRequest) else "text"


def _max_tokens(request: Request) -> int | None:
    return request.sampling.max_tokens if isinstance(request, TextRequest) else None
