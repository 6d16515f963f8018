"""A simulated node: GPUs, links, a broker and models, and the prompts that are sent to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from aquahost.config.settings import ModelSettings, Settings
from aquahost.events import EventKind
from aquahost.profiles.profile import Profile
from aquahost.simulator.agenda import Agenda
from aquahost.simulator.gated_model import GatedModel
from aquahost.simulator.gpu_turns import GpuTurns
from aquahost.simulator.language_model import LanguageModel
from aquahost.simulator.lending import MESSAGE_S, Coordinator, SimLending
from aquahost.simulator.links import Links, Wiring
from aquahost.simulator.prompts import SimPrompt
from aquahost.traces.replies import Reply
from aquahost.traces.trace import Trace, TracePrompt

SimModel = LanguageModel | GatedModel
_SLICE_S = 5.0
"""Virtual time between two looks at whether all is done."""
_PATIENCE_S = 24 * 3600.0
"""Virtual time after the last arrival in which every prompt must have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """One replica of a model, and the GPUs that hold it together."""

    name: str
    settings: ModelSettings
    profile: Profile
    gpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SimEvent:
    """What the daemon's event log would say."""

    at_s: float
    kind: EventKind
    message: str
    model: str | None


class SimNode:
    """Owns everything of one simulated node. `models` are added by `build`; a node runs one trace."""

    def __init__(self, settings: Settings, wiring: Wiring, gpu_bytes: Sequence[int], coordinator: Coordinator) -> None:
        self.settings = settings
        self.agenda = Agenda()
        self.links = Links(self.agenda, wiring)
        self.gpu_bytes = list(gpu_bytes)
        self.turns = [GpuTurns(self.agenda) for _ in gpu_bytes]
        self.events: list[SimEvent] = []
        self.lending = SimLending(coordinator, self.agenda, self.links, gpu_bytes, self._announce)
        self.models: list[tuple[Hosted, SimModel]] = []
        self.replies: list[Reply] = []
        self.failed: Counter[str] = Counter()
        self._by_name: dict[str, list[SimModel]] = {}
        self.request_s = MESSAGE_S
        """From a client's sending a prompt until the model's worker has it."""
        self._sent = 0
        self._live = 0
        self.on_first: Callable[[float], None] = lambda ttft_s: None
        """Told of each prompt's time to its first token or step, once that prompt has ended."""
        self.on_ended: Callable[[SimPrompt, Reply], None] = lambda prompt, reply: None
        """Told of each prompt that has ended."""

    def add(self, hosted: Hosted, model: SimModel) -> None:
        """Host a model."""
        self.models.append((hosted, model))
        self._by_name.setdefault(hosted.name, []).append(model)

    @property
    def live(self) -> Iterator[tuple[SimModel, SimPrompt]]:
        """Prompts that have not ended."""
        return ((model, prompt) for _, model in self.models for prompt in model.live.values())

    def run(self, trace: Trace, progress: Callable[[float, int], None] | None = None) -> list[Reply]:
        """Send all prompts and wait for their ends; `progress` is told the virtual time and how many have ended.

        Raises ValueError for a prompt to a model that is not here.
        """
        sole = next(iter(self._by_name)) if len(self._by_name) == 1 else ""
        for prompt in trace.prompts:
            if (prompt.model or sole) not in self._by_name:
                raise ValueError(f"prompt {prompt.number} asks for {prompt.model!r}, which is not here")
        self._arrive(iter(trace.prompts), sole)
        last_s = max((prompt.arrival_s for prompt in trace.prompts), default=0.0)
        while len(self.replies) < len(trace.prompts):
            is_going_on = self.agenda.run(self.agenda.now_s() + _SLICE_S)
            if progress is not None:
                progress(self.agenda.now_s(), len(self.replies))
            if not is_going_on or self.agenda.now_s() > last_s + _PATIENCE_S:
                left = len(trace.prompts) - len(self.replies)
                raise RuntimeError(f"{left} prompts never end; the node stands still at {self.agenda.now_s():.1f} s")
        return self.replies

    def every(self, period_s: float, look: Callable[[], None]) -> None:
        """Call `look` now and then, as long as the node runs."""

        def again() -> None:
            look()
            self.agenda.after(period_s, again)

        self.agenda.after(0.0, again)

    def check(self) -> None:
        """Raise AssertionError unless every byte and every block is accounted for."""
        self.lending.coordinator.ledger.check()
        for _, model in self.models:
            if isinstance(model, LanguageModel):
                model.check()

    # -- pieces ------------------------------------------------------------------------------------------------

    def _arrive(self, prompts: Iterator[TracePrompt], sole: str) -> None:
        """Enter the next arrival alone, so that a long trace does not fill the agenda."""
        prompt = next(prompts, None)
        if prompt is not None:
            self.agenda.at(prompt.arrival_s + self.request_s, partial(self._submit, prompt, prompts, sole))

    def _submit(self, prompt: TracePrompt, rest: Iterator[TracePrompt], sole: str) -> None:
        self._sent += 1
        replicas = self._by_name[prompt.model or sole]
        replica = min(range(len(replicas)), key=lambda at: len(replicas[at].live))
        tenant = self.settings.tenants.get(prompt.tenant)
        sim = SimPrompt(f"{self._sent:08d}", prompt, self.agenda.now_s(), replica)
        replicas[replica].submit(sim, weight=1.0 if tenant is None else tenant.weight)
        self._arrive(rest, sole)

    def ended(self, prompt: SimPrompt, failure: str) -> None:
        """A prompt is through."""
        reply = prompt.reply(self.agenda.now_s() + MESSAGE_S, failure=failure)
        self.replies.append(reply)
        if failure:
            self.failed[failure] += 1
        elif prompt.came_s:
            self.on_first(reply.ttft_s)
        self.on_ended(prompt, reply)

    def _announce(self, kind: EventKind, message: str, model: str | None) -> None:
        self.events.append(SimEvent(self.agenda.now_s(), kind, message, model))
