"""Prompts of a simulated node as snapshots show them."""

from __future__ import annotations

from bisect import bisect_right
from math import inf

import msgspec

from aquahost.config.names import DEFAULT_TENANT
from aquahost.config.settings import Kind
from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import PromptView
from aquahost.messages.words import AT_WORK
from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.simulator.gated_model import GatedModel
from aquahost.simulator.language_model import LanguageModel
from aquahost.simulator.links import HOST
from aquahost.simulator.node import Hosted, SimModel
from aquahost.simulator.prompts import SimPrompt

_DIGITS = 6
"""Of times: recordings hold many of them."""


def kind_word(kind: Kind) -> str:
    """What prompts of such a model are called."""
    return "text" if kind is Kind.LLM else str(kind)


def tenant_of(prompt: SimPrompt) -> str:
    """Whose it is."""
    return prompt.trace.tenant or DEFAULT_TENANT


class PromptViews:
    """Remembers of live prompts how long they have been seen to wait."""

    def __init__(self) -> None:
        self._waited: dict[str, tuple[float, float]] = {}
        """Of each live prompt: when it was last seen, and how long it had waited by then."""

    def of_model(self, hosted: Hosted, label: str, model: SimModel, now_s: float) -> list[PromptView]:
        """Its live prompts, in order of arrival."""
        if isinstance(model, LanguageModel):
            views = _of_language(hosted, label, model, now_s)
        else:
            views = _of_gated(hosted, label, model, now_s)
        return [self._with_wait(view, now_s) for view in views]

    def _with_wait(self, view: PromptView, now_s: float) -> PromptView:
        """Between two looks it has stood as it does now: what it waited is known as well as it is looked at."""
        arrived_s = now_s - view.age_s
        seen_s, waited_s = self._waited.get(view.id, (arrived_s, 0.0))
        if view.state not in AT_WORK:
            waited_s += now_s - seen_s
        self._waited[view.id] = now_s, waited_s
        return msgspec.structs.replace(view, waited_s=round(waited_s, _DIGITS))

    def forget(self, prompt_id: str) -> None:
        """It has ended."""
        self._waited.pop(prompt_id, None)


def _of_language(hosted: Hosted, label: str, model: LanguageModel, now_s: float) -> list[PromptView]:
    scheduler, so_far = model.scheduler, model.so_far()
    line = {place.prompt_id: place for place in scheduler.policy.line()}
    views = []
    for prompt in model.live.values():
        is_known = prompt.id in scheduler.prompts  # else it waits for its adapter
        state = _state(scheduler.prompts[prompt.id]) if is_known else PromptState.WAITING
        at_work = state in AT_WORK
        ahead = so_far.steps if at_work else 0
        first_s = prompt.came_s[0] if prompt.came_s else (so_far.came_s if ahead else inf)
        place = line.get(prompt.id)
        views.append(
            _view(
                hosted,
                label,
                prompt,
                state,
                now_s,
                first_s=first_s,
                output_tokens=bisect_right(prompt.came_s, now_s) + ahead,
                service_s=scheduler.policy.service_s(prompt.id) if is_known else 0.0,
                place=_place(model, prompt.id) if state is PromptState.SUSPENDED else "",
                position=0 if at_work else (place.position if place is not None else None),
                next_slice_s=0.0 if at_work else (place.next_slice_s if place is not None else None),
            )
        )
    return views


def _state(prompt: ScheduledPrompt) -> PromptState:
    if prompt.stand is Stand.WAITING and not prompt.has_begun:
        return PromptState.WAITING
    if prompt.stand is not Stand.RUNNING:
        return PromptState.SUSPENDED
    return PromptState.PREFILLING if prompt.remaining > 1 or not prompt.computed else PromptState.RUNNING


def _place(model: LanguageModel, prompt_id: str) -> str:
    """Where its KV lies beside its own GPUs, in the daemon's words."""
    donors, hosted = set[int](), False
    for shard in model.parts.shards:
        holding = shard.kv.holdings.get(prompt_id)
        for place, blocks in holding.remote.items() if holding is not None else ():
            if blocks and place == HOST:
                hosted = True
            elif blocks and place in shard.kv.peer.leases:
                donors.add(shard.kv.peer.leases[place].donor)
    return ", ".join([*(f"GPU {donor}" for donor in sorted(donors)), *(["host"] if hosted else [])])


def _of_gated(hosted: Hosted, label: str, model: GatedModel, now_s: float) -> list[PromptView]:
    turns = model.turns
    waits = {wait.prompt_id: (at, wait.estimate_s) for at, wait in enumerate(turns.waits(), 1)}
    views = []
    for prompt in model.live.values():
        position, estimate_s = waits.get(prompt.id, (0, 0.0))
        views.append(
            _view(
                hosted,
                label,
                prompt,
                PromptState.WAITING if position else PromptState.RUNNING,
                now_s,
                first_s=prompt.came_s[0] if prompt.came_s else inf,
                steps_done=bisect_right(prompt.came_s, now_s),
                steps=prompt.steps,
                service_s=turns.service_s(prompt.id),
                position=position,
                next_slice_s=estimate_s,
            )
        )
    return views


def _view(
    hosted: Hosted,
    label: str,
    prompt: SimPrompt,
    state: PromptState,
    now_s: float,
    *,
    first_s: float,
    service_s: float,
    position: int | None,
    next_slice_s: float | None,
    output_tokens: int = 0,
    steps_done: int | None = None,
    steps: int | None = None,
    place: str = "",
) -> PromptView:
    is_text = hosted.settings.kind is Kind.LLM
    return PromptView(
        id=prompt.id,
        model=label,
        tenant=tenant_of(prompt),
        kind=kind_word(hosted.settings.kind),
        state=state,
        age_s=round(now_s - prompt.arrived_s, _DIGITS),
        input_tokens=prompt.trace.input_tokens if is_text else 0,
        output_tokens=output_tokens,
        steps_done=steps_done,
        steps=steps,
        first_token_s=round(first_s - prompt.arrived_s, _DIGITS) if first_s <= now_s else None,
        max_tokens=prompt.trace.output_tokens if is_text else None,
        service_s=round(service_s, _DIGITS),
        place=place,
        position=position,
        next_slice_s=None if next_slice_s is None else round(next_slice_s, _DIGITS),
    )
