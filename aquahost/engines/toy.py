"""An engine without a model: chosen load and step times, lorem ipsum for every prompt."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from aquahost.config.settings import ModelSettings, Policy, SchedulerSettings
from aquahost.engines.engine import ReportProgress
from aquahost.errors import InvalidRequestError, LoadError
from aquahost.messages.memory import MemoryInstruction, MemoryReport
from aquahost.messages.prompts import (
    Accepted,
    Finished,
    FinishReason,
    Output,
    Prompt,
    PromptState,
    StateChanged,
    TextRequest,
    TokenChoice,
    TokenLogprob,
    Tokens,
)
from aquahost.messages.wire import EngineStats, Footprint, LoadProgress, ParkingWish, Standing
from aquahost.scheduling.virtual_time import VirtualTime

if TYPE_CHECKING:
    from aquahost.engines.device import EngineDevice

DEFAULT_TOKENS = 32
"""Words of a reply whose length is not asked for."""
LOAD_STEPS = 10
LONGEST_WAIT_S = 0.5
LEAST_STEP_S = 1e-6
"""What a step that takes no time counts for, so that prompts take turns all the same."""
LOREM = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore "
    "magna aliqua enim ad minim veniam quis nostrud exercitation ullamco laboris nisi aliquip ex ea commodo "
    "consequat duis aute irure in reprehenderit voluptate velit esse cillum fugiat nulla pariatur excepteur sint "
    "occaecat cupidatat non proident sunt culpa qui officia deserunt mollit anim id est laborum"
)
WORDS = tuple(" " + word for word in LOREM.split())
"""The vocabulary; a token's id is its index."""

Sleep = Callable[[float], None]


def load_toy(
    name: str,
    settings: ModelSettings,
    scheduler: SchedulerSettings,
    device: EngineDevice | None,
    report: ReportProgress,
) -> ToyEngine:
    """Pretend to load for `load_s`, reporting progress. Raises LoadError if the model's entry asks for it (`fail`).

    Takes what every engine's loader takes; a toy needs no name and no device.
    """
    toy = settings.toy
    for done in range(LOAD_STEPS):
        report(LoadProgress("pretending to load", done, LOAD_STEPS, "steps"))
        time.sleep(toy.load_s / LOAD_STEPS)
    if toy.fail is not None:
        raise LoadError(toy.fail)
    report(LoadProgress("pretending to load", LOAD_STEPS, LOAD_STEPS, "steps"))
    return ToyEngine(settings, scheduler)


class _Reply:
    """The words still owed to one prompt. The reply depends on the prompt's text alone."""

    __slots__ = (
        "finish", "first", "input_tokens", "last_text", "length", "logprobs", "prefix", "prompt_id", "sent", "state",
    )  # fmt: skip

    def __init__(self, prompt: Prompt, request: TextRequest) -> None:
        text = _text_of(request)
        sampling = request.sampling
        self.prompt_id = prompt.id
        self.state = PromptState.WAITING
        self.input_tokens = len(request.token_ids) if request.token_ids is not None else len(text.split())
        self.first = zlib.crc32(text.encode("utf-8", "surrogatepass")) % len(WORDS)
        self.sent = len(prompt.produced_ids)
        self.prefix = text if request.echo else ""
        self.length = sampling.max_tokens if sampling.max_tokens is not None else DEFAULT_TOKENS
        self.finish = FinishReason.STOP if sampling.max_tokens is None else FinishReason.LENGTH
        self.last_text: str | None = None
        self.logprobs = sampling.logprobs
        if sampling.stop:
            self._stop_before(sampling.stop)

    def next(self) -> Tokens:
        """The next word."""
        sent = self.sent
        token_id = (self.first + sent) % len(WORDS)
        self.sent = sent + 1
        text = self.prefix + self._word(0) if sent == 0 else WORDS[token_id]
        if self.sent == self.length and self.last_text is not None:
            text = self.last_text
        logprobs = None if self.logprobs is None else [self._choice(token_id)]
        return Tokens(self.prompt_id, text, [token_id], logprobs)

    def _word(self, position: int) -> str:
        word = WORDS[(self.first + position) % len(WORDS)]
        return word.lstrip() if position == 0 and not self.prefix else word

    def _stop_before(self, stops: tuple[str, ...]) -> None:
        """Cut the reply, which is known beforehand, at the first stop string; the echoed prompt is not searched."""
        text = ""
        ends = []
        longest = max(len(stop) for stop in stops)
        # The words repeat, so a stop string that is not met in the first round is never met.
        for position in range(min(self.length, len(WORDS) + longest)):
            searched = max(0, len(text) - longest)
            text += self._word(position)
            ends.append(len(text))
            found = [at for stop in stops if stop and (at := text.find(stop, searched)) >= 0]
            if found:
                self._cut(text, ends, min(found))
                return

    def _cut(self, text: str, ends: list[int], at: int) -> None:
        self.finish = FinishReason.STOP
        self.length = 1 + sum(end < at for end in ends)
        start = ends[self.length - 2] if self.length > 1 else 0
        self.last_text = text[start:at]
        if self.length == 1:
            self.last_text = self.prefix + self.last_text

    def _choice(self, token_id: int) -> TokenChoice:
        chosen = TokenLogprob(token_id, WORDS[token_id], 0.0)
        return TokenChoice(chosen, [chosen] if self.logprobs else [])


class ToyEngine:
    """Gives every running prompt one word a step; a step takes `step_s`. Uses no GPU memory and keeps no KV.

    At most `scheduler.max_batch` prompts run: those that came first, or under "fair" and "priority" those that have had
    least, chosen anew for every step, since preemption costs a toy nothing.
    """

    def __init__(self, settings: ModelSettings, scheduler: SchedulerSettings, *, sleep: Sleep = time.sleep) -> None:
        self._step_s = settings.toy.step_s
        self._max_context = settings.max_context
        self._max_batch = scheduler.max_batch
        self._sleep = sleep
        self._policy = settings.policy or scheduler.policy
        self._fair = VirtualTime()
        self._live: dict[str, _Reply] = {}
        """In order of arrival."""
        self._steps = 0
        self._busy_s = 0.0
        self._output_tokens = 0

    @property
    def footprint(self) -> Footprint:
        """No memory; `max_context` as configured."""
        return Footprint(max_context=self._max_context or 0, detail="toy, no model")

    def submit(self, prompt: Prompt) -> Accepted:
        """Take a text prompt. Raises InvalidRequestError for any other, and for one longer than `max_context`."""
        request = prompt.request
        if not isinstance(request, TextRequest):
            raise InvalidRequestError("a toy model makes text only", param="model")
        if request.sampling.max_tokens is not None and request.sampling.max_tokens < 1:
            raise InvalidRequestError("max_tokens must be at least 1", param="max_tokens")
        if prompt.id in self._live:
            raise InvalidRequestError(f"prompt {prompt.id} is live already", param="id")
        reply = _Reply(prompt, request)
        if self._max_context is not None:
            self._fit(reply, self._max_context, param="messages" if request.messages is not None else "prompt")
        level = prompt.priority if self._policy is Policy.PRIORITY else 0
        self._fair.add(prompt.id, prompt.tenant, weight=prompt.weight, level=level)
        self._live[prompt.id] = reply
        return Accepted(prompt.id, reply.input_tokens)

    def cancel(self, prompt_id: str) -> None:
        """Forget the prompt."""
        self._live.pop(prompt_id, None)
        self._fair.remove(prompt_id)

    def has_work(self) -> bool:
        """Whether a prompt is live."""
        return bool(self._live)

    def step(self) -> list[Output]:
        """One word for every running prompt."""
        if self._step_s:
            self._sleep(self._step_s)
        order = [self._live[prompt_id] for prompt_id in self._in_order()]
        running = order[: self._max_batch]
        outputs: list[Output] = []
        for reply in order[self._max_batch :]:
            if reply.state is PromptState.RUNNING:
                self._enter(reply, PromptState.SUSPENDED, outputs)
        for reply in running:
            if reply.state is not PromptState.RUNNING:
                self._enter(reply, PromptState.RUNNING, outputs)
        for reply in running:
            outputs.append(reply.next())
            self._fair.serve(reply.prompt_id, max(self._step_s, LEAST_STEP_S) / len(running))
        self._steps += 1
        self._busy_s += self._step_s
        self._output_tokens += len(running)
        outputs += [self._finish(reply) for reply in running if reply.sent == reply.length]
        return outputs

    def tend(self) -> None:
        """Nothing goes on beside steps."""

    def wait_s(self) -> float:
        """Until the next message, where no prompt is live."""
        return 0.0 if self.has_work() else LONGEST_WAIT_S

    def on_memory(self, message: MemoryInstruction) -> None:
        """Nothing: it claims no memory and borrows none."""

    def on_wish(self, wish: ParkingWish) -> None:
        """Nothing: it has no weights to park."""

    def memory_reports(self) -> list[MemoryReport]:
        """None, for the same reason."""
        return []

    def stats(self) -> EngineStats:
        """Counts since the load."""
        states = [reply.state for reply in self._live.values()]
        return EngineStats(
            waiting=states.count(PromptState.WAITING),
            running=states.count(PromptState.RUNNING),
            suspended=states.count(PromptState.SUSPENDED),
            steps=self._steps,
            output_tokens=self._output_tokens,
            busy_s=self._busy_s,
        )

    def standings(self) -> list[Standing]:
        """How each live prompt stands with the next step."""
        most = self._max_batch
        return [
            Standing(
                prompt_id,
                self._fair.service_s(prompt_id),
                position=max(0, place - most + 1),
                next_slice_s=place // most * self._step_s,
            )
            for place, prompt_id in enumerate(self._in_order())
        ]

    def close(self) -> None:
        """Forget every prompt."""
        for prompt_id in list(self._live):
            self.cancel(prompt_id)

    def _in_order(self) -> list[str]:
        if self._policy is Policy.FCFS:
            return list(self._live)
        return sorted(self._live, key=self._fair.rank)

    @staticmethod
    def _enter(reply: _Reply, state: PromptState, outputs: list[Output]) -> None:
        reply.state = state
        outputs.append(StateChanged(reply.prompt_id, state))

    def _finish(self, reply: _Reply) -> Finished:
        service_s = self._fair.service_s(reply.prompt_id)
        self.cancel(reply.prompt_id)
        return Finished(
            prompt_id=reply.prompt_id,
            reason=reply.finish,
            service_s=service_s,
            input_tokens=reply.input_tokens,
            output_tokens=reply.sent,
        )

    @staticmethod
    def _fit(reply: _Reply, max_context: int, *, param: str) -> None:
        room = max_context - reply.input_tokens
        if room < 1:
            raise InvalidRequestError(
                f"the prompt has {reply.input_tokens} tokens, the model's context {max_context}; shorten the prompt",
                param=param,
                code="context_length_exceeded",
            )
        if reply.length > room:
            reply.length, reply.finish, reply.last_text = room, FinishReason.LENGTH, None


def _text_of(request: TextRequest) -> str:
    if request.messages is not None:
        return "\n".join(str(message.get("content") or "") for message in request.messages)
    if request.token_ids is not None:
        return "".join(WORDS[token_id % len(WORDS)] for token_id in request.token_ids).lstrip()
    return request.text or ""
