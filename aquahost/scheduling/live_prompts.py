"""The live prompts of one model by where they stand, in order of arrival."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from operator import attrgetter

from aquahost.scheduling.prompt import ScheduledPrompt, Stand

_ARRIVAL = attrgetter("arrival")


class LivePrompts:
    """Every live prompt is in exactly one of three places, each in order of arrival."""

    def __init__(self, on_wait: Callable[[ScheduledPrompt], None] | None = None) -> None:
        """`on_wait` is told of every prompt that can begin or come back from now on."""
        self.waiting: list[ScheduledPrompt] = []
        """Those that are not running nor arriving."""
        self.running: list[ScheduledPrompt] = []
        self.arriving: list[ScheduledPrompt] = []
        self.arrivals = 0
        """Prompts that were ever added."""
        self.leaving_blocks = 0
        """Local blocks of those that are being paged out, which come free when they have left."""
        self._on_wait = on_wait
        self._by_id: dict[str, ScheduledPrompt] = {}
        self._counts = dict.fromkeys(Stand, 0)

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self._by_id

    def __len__(self) -> int:
        return len(self._by_id)

    def __getitem__(self, prompt_id: str) -> ScheduledPrompt:
        return self._by_id[prompt_id]

    @property
    def by_arrival(self) -> Iterable[ScheduledPrompt]:
        """All of them."""
        return self._by_id.values()

    def count(self, stand: Stand) -> int:
        """How many stand so."""
        return self._counts[stand]

    def add(self, prompt: ScheduledPrompt) -> None:
        """Put a new prompt behind all others; raises ValueError if its id is taken."""
        if prompt.id in self._by_id:
            raise ValueError(f"prompt {prompt.id} is already scheduled")
        self.arrivals += 1
        prompt.arrival = self.arrivals
        self._by_id[prompt.id] = prompt
        self.waiting.append(prompt)
        self._counts[prompt.stand] += 1
        if self._on_wait is not None:
            self._on_wait(prompt)

    def remove(self, prompt_id: str) -> ScheduledPrompt | None:
        """Forget a prompt; None if the id is unknown."""
        prompt = self._by_id.pop(prompt_id, None)
        if prompt is not None:
            self._counts[prompt.stand] -= 1
            self.leaving_blocks -= prompt.local if prompt.stand is Stand.LEAVING else 0
            _take_out(self._place(prompt.stand), prompt)
        return prompt

    def move(self, prompt: ScheduledPrompt, stand: Stand) -> None:
        """Let a prompt stand elsewhere. Its blocks must be counted as they are in the new stand, or to be set next."""
        before, after = self._place(prompt.stand), self._place(stand)
        self._counts[prompt.stand] -= 1
        self._counts[stand] += 1
        self.leaving_blocks += prompt.local * ((stand is Stand.LEAVING) - (prompt.stand is Stand.LEAVING))
        prompt.stand = stand
        if after is not before:
            _take_out(before, prompt)
            insort(after, prompt, key=_ARRIVAL)
        if self._on_wait is not None and stand in (Stand.WAITING, Stand.SUSPENDED):
            self._on_wait(prompt)

    def left(self, prompt_id: str) -> None:
        """A prompt that was to leave has: its local blocks are free."""
        prompt = self._by_id[prompt_id]
        self.move(prompt, Stand.SUSPENDED)
        prompt.local = 0

    def arrived(self, prompt_id: str) -> None:
        """A prompt that was to arrive has, and goes on with the next step."""
        self.move(self._by_id[prompt_id], Stand.RUNNING)

    def lose(self, prompt_id: str) -> None:
        """A prompt's blocks are gone, wherever it stands; it is prefilled again when its turn comes."""
        self.empty(self._by_id[prompt_id])

    def empty(self, prompt: ScheduledPrompt) -> None:
        """Let a prompt wait that holds nothing any more."""
        self.move(prompt, Stand.WAITING)
        prompt.blocks = prompt.local = prompt.computed = prompt.hosted = 0

    def check(self) -> None:
        """Raise AssertionError unless every prompt is in one place, where its stand says, in order of arrival."""
        assert len(self.running) + len(self.waiting) + len(self.arriving) == len(self), (
            "a prompt is lost, or twice here"
        )
        for place in (self.waiting, self.running, self.arriving):
            assert all(self._place(prompt.stand) is place for prompt in place), "a prompt is where it should not be"
            assert place == sorted(place, key=_ARRIVAL), "prompts are out of order"
        for stand, count in self._counts.items():
            assert count == sum(prompt.stand is stand for prompt in self._by_id.values()), f"miscounted: {stand}"
        leaving = sum(prompt.local for prompt in self.waiting if prompt.stand is Stand.LEAVING)
        assert leaving == self.leaving_blocks, "blocks on their way out are miscounted"

    def _place(self, stand: Stand) -> list[ScheduledPrompt]:
        match stand:
            case Stand.RUNNING:
                return self.running
            case Stand.ARRIVING:
                return self.arriving
            case _:
                return self.waiting


def _take_out(place: list[ScheduledPrompt], prompt: ScheduledPrompt) -> None:
    del place[bisect_left(place, prompt.arrival, key=_ARRIVAL)]
