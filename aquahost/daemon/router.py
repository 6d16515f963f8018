"""Prompts in, outputs out: each to the worker or the stream it belongs to."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Collection, Mapping

from aquahost.clock import Clock
from aquahost.daemon.endings import RETRY_S, event_of, guilty, not_sent, overdue, unavailable
from aquahost.daemon.event_log import EventLog
from aquahost.daemon.first_tokens import FirstTokens
from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.jobs.accounts import is_account
from aquahost.daemon.live_prompt import LivePrompt
from aquahost.daemon.notices import Notices
from aquahost.daemon.prompt_counts import PromptCounts
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.daemon.queue_bounds import QueueBounds
from aquahost.daemon.reply_so_far import Seen
from aquahost.daemon.request_kinds import check_kind
from aquahost.daemon.stranded import Stranded
from aquahost.daemon.tenant_totals import TenantTotals
from aquahost.daemon.unknown_model import unknown_model
from aquahost.errors import (
    ModelUnavailableError,
    UnknownPromptError,
)
from aquahost.events import EventKind
from aquahost.log_format import PROMPT_ID
from aquahost.log_privacy import OF_PROMPT
from aquahost.messages.prompts import (
    Accepted,
    ErrorDetail,
    Finished,
    FinishReason,
    Notice,
    Output,
    Prompt,
    Request,
)
from aquahost.messages.snapshot import ModelState, PromptView
from aquahost.messages.wire import Cancel, Standing, Submit, ToWorker
from aquahost.units import format_seconds

logger = logging.getLogger(__name__)


class Router:
    """Owns the live prompts. All methods are called in the event loop's thread and return at once.

    `send` hands a message to a worker; `want` asks for a model to be loaded; `idle` is told whenever a model's last
    live prompt has ended.
    """

    def __init__(
        self,
        models: Mapping[str, HostedModel],
        *,
        send: Callable[[int, ToWorker], bool],
        want: Callable[[str], None],
        idle: Callable[[HostedModel], None],
        events: EventLog,
        clock: Clock,
        weights: Mapping[str, float] | None = None,
        bounds: QueueBounds | None = None,
    ) -> None:
        """`weights`: the shares of tenants, by name; 1 for any other. It may change. `bounds`: of tenants' queues."""
        self._models = models
        self.weights = weights if weights is not None else {}
        self.bounds = bounds or QueueBounds({})
        self.tenants = TenantTotals(self.weights)
        self.first_tokens = FirstTokens()
        self.counts = PromptCounts()
        self._send = send
        self._want = want
        self._idle = idle
        self._events = events
        self._clock = clock
        self._prompts: dict[str, LivePrompt] = {}
        self._told: dict[str, LivePrompt] = {}
        """Those of them whose readers want to know how they stand."""
        self.refusal: tuple[str, str] | None = None
        """What prompts and loads are refused with, once they are: message and code."""

    @property
    def models(self) -> Collection[HostedModel]:
        """All that are hosted."""
        return self._models.values()

    def model(self, name: str) -> HostedModel:
        """The model of that name. Raises UnknownModelError naming the nearest one."""
        model = self._models.get(name)
        if model is None:
            raise unknown_model(name, self._models)
        return model

    def submit(
        self, name: str, request: Request, tenant: str, *, priority: int = 0, notices: bool = False
    ) -> PromptStream:
        """Pass a request on to the model's worker. Raises the RequestError that says why it cannot be served now.

        With `notices` the stream also tells how the prompt stands, whenever that has changed.
        """
        model = self.model(name)
        check_kind(model, request)
        worker_id = self._ready_worker(model)
        now_s = self._clock.now_s()
        self.bounds.admit(model, tenant, now_s)
        prompt = Prompt(
            id=secrets.token_hex(6),
            model=name,
            tenant=tenant,
            request=request,
            created_s=now_s,
            weight=self.weights.get(tenant, 1.0),
            priority=priority,
        )
        stream = PromptStream(prompt.id, self.cancel, queue_length=len(model.prompts) + 1)
        live = LivePrompt(prompt, stream, Notices() if notices else None)
        self._hand_over(live, worker_id)
        self._prompts[prompt.id] = model.prompts[prompt.id] = live
        self.bounds.joined(tenant)
        if notices:
            self._told[prompt.id] = live
        self._events.add(EventKind.PROMPT_QUEUED, f"{live.kind} prompt for {name}", model=name, prompt_id=prompt.id)
        return stream

    def cancel(self, prompt_id: str) -> None:
        """End a prompt as cancelled. Raises UnknownPromptError if it is not live."""
        self._drop(self._live(prompt_id), Finished(prompt_id=prompt_id, reason=FinishReason.CANCELLED))

    def output(self, prompt_id: str) -> AsyncGenerator[Seen]:
        """What a prompt has produced so far, and what it produces, to its end. Raises UnknownPromptError if it is not
        live."""
        return self._live(prompt_id).reply.follow()

    def on_outputs(self, worker_id: int, outputs: list[Output]) -> None:
        """Spread what one step of a worker produced. Outputs for prompts that it no longer has are dropped."""
        now_s = self._clock.now_s()
        prompts = self._prompts
        for output in outputs:
            live = prompts.get(output.prompt_id)
            if live is None or live.worker_id != worker_id:
                continue
            if isinstance(output, Finished):
                self._retire(live, output)
                continue
            is_news = not (live.is_accepted and isinstance(output, Accepted))
            if is_news:
                live.stream.feed(output)
            had_begun = live.first_s is not None
            live.note(output, now_s)  # after it, since a notice of what it changes must not come first
            if not had_begun and live.first_s is not None:
                self.first_tokens.note(live.first_s, now_s)
            self.counts.produced(live, output, now_s)
            if live.interruptions:
                self._models[live.model].stranded.note(live)
        for model in self._held_back(worker_id):
            model.stranded.heard()
            self._let_in(model)

    def on_standings(self, worker_id: int, standings: list[Standing]) -> None:
        """Keep how a worker's prompts stand, and tell readers who asked; with every report, even if none is new."""
        now_s = self._clock.now_s()
        for standing in standings:
            live = self._prompts.get(standing.prompt_id)
            if live is not None and live.worker_id == worker_id:
                live.stand(standing)
        for live in self._told.values():
            if live.worker_id == worker_id:
                live.tell(now_s)

    def strand(self, model: HostedModel, *, blamed: bool) -> bool:
        """The model's worker is gone; its prompts wait for the next one, but the one that ended it twice fails; returns
        whether there was one.

        `blamed`: whether a prompt can have been the cause.
        """
        aboard = [live for live in model.prompts.values() if live.worker_id is not None]
        convict = model.stranded.strand(aboard, blamed=blamed)
        for live in aboard:
            live.interrupt(self._clock.now_s())
            if live.id != convict and live.is_accepted:
                live.stream.feed(Notice(live.id, f"the worker of {model.name} died; this reply goes on soon"))
        if convict is not None:
            self._retire(model.prompts[convict], guilty(convict, model.name))
        if model.prompts:
            waiting = f"{_prompts(len(model.prompts))} of {model.name} for its next worker"
            self._events.add(EventKind.PROMPTS_STRANDED, f"waiting: {waiting}", model=model.name)
        return convict is not None

    def carry_on(self, model: HostedModel) -> None:
        """The model has a worker again: the prompts that wait for it go on."""
        if model.prompts:
            how = ", one at a time, since one may have ended the last" if model.stranded.has_suspects else ""
            goes_on = f"{_prompts(len(model.prompts))} of {model.name} with its new worker{how}"
            self._events.add(EventKind.PROMPTS_CARRIED_ON, f"going on: {goes_on}", model=model.name)
        self._let_in(model)

    def end_prompts(self, model: HostedModel, error: ErrorDetail) -> None:
        """Fail all live prompts of a model."""
        model.stranded = Stranded()  # or some of them would be handed over for others that are ended before them
        for live in list(model.prompts.values()):
            self._drop(live, Finished(prompt_id=live.id, reason=FinishReason.ERROR, error=error))

    def end_overdue(self, timeout_s: float) -> None:
        """Fail the prompts that have been live for `timeout_s`, but for those of jobs, for which nobody waits."""
        due_s = self._clock.now_s() - timeout_s
        for live in list(itertools.takewhile(lambda live: live.created_s <= due_s, self._prompts.values())):
            if not is_account(live.tenant):
                self._drop(live, overdue(live.id, timeout_s))

    def close(self, message: str, code: str) -> None:
        """Refuse prompts from now on, with 503 and this message; the live ones go on."""
        self.refusal = message, code

    def check_open(self) -> None:
        """Raises ModelUnavailableError once prompts are refused."""
        if self.refusal is not None:
            message, code = self.refusal
            raise ModelUnavailableError(message, code=code, retry_after_s=RETRY_S)

    @property
    def live(self) -> int:
        """Number of live prompts."""
        return len(self._prompts)

    def views(self, now_s: float) -> list[PromptView]:
        """What a snapshot shows of the live prompts, oldest first."""
        return [live.view(now_s) for live in self._prompts.values()]

    def _live(self, prompt_id: str) -> LivePrompt:
        live = self._prompts.get(prompt_id)
        if live is None:
            raise UnknownPromptError(f"no live prompt {prompt_id!r}; see `aquahost queue`")
        return live

    def _ready_worker(self, model: HostedModel) -> int:
        self.check_open()
        if model.state is ModelState.UNLOADED:
            self._want(model.name)
        if model.state is ModelState.READY and model.worker_id is not None and not model.stranded.holds_back:
            return model.worker_id
        raise unavailable(model)

    def _hand_over(self, live: LivePrompt, worker_id: int) -> None:
        self._send(worker_id, Submit(live.to_go_on()))
        live.worker_id = worker_id

    def _let_in(self, model: HostedModel) -> None:
        """Hand over the prompts that need not wait any longer."""
        if model.state in (ModelState.READY, ModelState.DRAINING) and model.worker_id is not None:
            for live in model.stranded.take():
                try:
                    self._hand_over(live, model.worker_id)
                except Exception:  # of one prompt; the others must not be lost with it
                    extra = {**OF_PROMPT, PROMPT_ID: live.id}
                    logger.exception("prompt %s could not be handed to its worker", live.id, extra=extra)
                    self._retire(live, not_sent(live.id))

    def _held_back(self, worker_id: int) -> list[HostedModel]:
        """The model of that worker, if prompts of it wait."""
        return [model for model in self._models.values() if model.worker_id == worker_id and model.stranded.holds_back]

    def _drop(self, live: LivePrompt, finished: Finished) -> None:
        """End a prompt on our side's wish; its worker is told to forget it."""
        if live.worker_id is not None:
            self._send(live.worker_id, Cancel(live.id))
        self._retire(live, finished)

    def _retire(self, live: LivePrompt, finished: Finished) -> None:
        model = self._models[live.model]
        now_s = self._clock.now_s()
        del self._prompts[live.id], model.prompts[live.id]
        self._told.pop(live.id, None)
        model.stranded.discard(live.id)
        completed = finished.reason in (FinishReason.STOP, FinishReason.LENGTH)
        self.bounds.left(live.tenant, now_s, completed=completed)
        if completed:
            model.completions.note(now_s)
        live.stream.feed(finished)
        live.end(finished)
        view = live.view(now_s)
        self.tenants.ended(view)
        self.counts.ended(live, view, finished.reason)
        kind, what = event_of(finished)
        message = f"{live.kind} prompt for {live.model} {what} after {format_seconds(now_s - live.created_s)}"
        self._events.add(kind, message, model=live.model, prompt_id=live.id)
        if not model.prompts:
            self._idle(model)


def _prompts(count: int) -> str:
    return "1 prompt" if count == 1 else f"{count} prompts"
