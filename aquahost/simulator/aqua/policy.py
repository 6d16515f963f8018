"""AQUA's scheduler: whoever was served least runs, for five iterations; state is moved between slices."""

from __future__ import annotations

from collections.abc import Sequence

from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.policy import PlaceInLine
from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.service import Service
from aquahost.scheduling.step_room import StepRoom

SLICE_ITERATIONS = 5


class AquaPolicy:
    """Least-served first by tokens generated; prompts that have none are admitted at once.

    At the end of a slice those are chosen who have had least and fit into local memory together. Who is not among them
    is paged out, then who is is paged in, and nothing is computed until the copies have arrived: each is waited for.
    """

    def __init__(self) -> None:
        self._service = Service()
        self._inputs: dict[str, int] = {}
        self._iterations = 0
        """Of this slice so far."""
        self._chosen: set[str] | None = None
        """Who is to run in the slice that is being prepared."""
        self._waiting: list[ScheduledPrompt] = []

    @property
    def slice_s(self) -> float:
        """Slices are counted in iterations."""
        return 0.0

    @property
    def begins_all(self) -> bool:
        """Every prompt begins at once."""
        return True

    def add(self, prompt: ScheduledPrompt) -> None:
        """Keep count of what it is served."""
        self._service.add(prompt.id)
        self._inputs[prompt.id] = prompt.tokens

    def remove(self, prompt_id: str) -> None:
        """A prompt has ended."""
        self._service.remove(prompt_id)
        self._inputs.pop(prompt_id, None)

    def waits(self, prompt: ScheduledPrompt) -> None:
        """Nothing: prompts are looked at anew at the end of each slice."""

    def served(self, plan: StepPlan, took_s: float) -> None:
        """An iteration has ended."""
        self._iterations += 1
        self._service.share(plan, took_s)

    def served_alike(self, prompts: Sequence[ScheduledPrompt], took_s: Sequence[float]) -> None:
        """Several have."""
        self._iterations += len(took_s)
        self._service.share(StepPlan(decodes=list(prompts)), sum(took_s))

    def service_s(self, prompt_id: str) -> float:
        """Device seconds that a live prompt has had."""
        return self._service.of(prompt_id)

    def line(self) -> list[PlaceInLine]:
        """By what they were served."""
        ordered = sorted(self._waiting, key=self._served_tokens)
        return [PlaceInLine(prompt.id, at, None) for at, prompt in enumerate(ordered, 1)]

    def decide(self, step: StepRoom, now_s: float) -> None:
        """Between slices move state, else compute."""
        self._waiting = step.prompts.waiting
        if step.coming or step.prompts.arriving:
            return
        has_new = any(prompt.stand is Stand.WAITING for prompt in step.prompts.waiting)
        if self._chosen is None and (self._iterations >= SLICE_ITERATIONS or has_new or not step.prompts.running):
            self._choose(step)
        if self._chosen is not None:
            self._seat(step)
            if step.coming or step.prompts.arriving:
                return
        self._compute(step)

    # -- between slices ----------------------------------------------------------------------------------------

    def _served_tokens(self, prompt: ScheduledPrompt) -> tuple[int, int]:
        return prompt.tokens - self._inputs[prompt.id], prompt.arrival

    def _choose(self, step: StepRoom) -> None:
        """Pick the least-served that fit together, and let the others go."""
        self._iterations = 0
        live = sorted([*step.prompts.running, *step.prompts.waiting], key=self._served_tokens)
        room = step.local + sum(prompt.local for prompt in step.prompts.running)
        chosen: set[str] = set()
        for prompt in live:
            needed = step.blocks_ahead(prompt, SLICE_ITERATIONS)
            if len(chosen) >= step.sizes.max_running or (needed > room and chosen):
                break
            room -= needed
            chosen.add(prompt.id)
        self._chosen = chosen
        for prompt in list(step.prompts.running):
            if prompt.id not in chosen:
                step.give_way(prompt)

    def _seat(self, step: StepRoom) -> None:
        """Let in who was chosen and is not there; those whose turn is over have left by now."""
        chosen = self._chosen or set()
        self._chosen = None
        for prompt in sorted(step.prompts.waiting, key=self._served_tokens):
            if prompt.id not in chosen or prompt.stand is Stand.LEAVING:
                continue
            if step.coming:
                self._chosen = chosen  # they are seated once the others have gone
                return
            if not step.active:
                step.seat_alone(prompt)
            elif step.blocks_ahead(prompt, SLICE_ITERATIONS) <= step.local:
                step.seat(prompt, step.sizes.blocks_for(prompt.tokens))

    # -- within a slice ----------------------------------------------------------------------------------------

    def _compute(self, step: StepRoom) -> None:
        for prompt in list(step.prompts.running):
            if prompt.remaining == 1 and prompt.computed and prompt.stand is Stand.RUNNING:
                step.decode(prompt, lambda one, tokens: self._provide(step, one, tokens))
        for prompt in sorted(step.prompts.running, key=self._served_tokens):
            if (prompt.remaining > 1 or not prompt.computed) and prompt.stand is Stand.RUNNING:
                step.prefill(prompt, lambda one, tokens: self._provide(step, one, tokens))

    def _provide(self, step: StepRoom, prompt: ScheduledPrompt, tokens: int) -> bool:
        """Local memory, at the cost of whoever has been served most and is not computed yet."""
        missing = step.sizes.blocks_for(tokens) - prompt.blocks
        while missing > step.local:
            if step.more or missing <= step.local + step.coming:
                return False
            if step.is_alone(prompt):
                return step.overflow(prompt, missing)
            computed = [*step.plan.decodes, *(chunk.prompt for chunk in step.plan.chunks)]
            others = [one for one in step.prompts.running if one not in computed and one is not prompt and one.local]
            if not others:
                return False
            step.give_way(max(others, key=self._served_tokens))
        if missing > 0:
            step.grow(prompt, missing, 0)
        return True
