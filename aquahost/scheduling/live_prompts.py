"""Which live prompts run, wait, leave or arrive: their places, without any decision."""

from __future__ import annotations

from bisect import insort
from operator import attrgetter

from aquahost.scheduling.prompt import ScheduledPrompt, Stand

_ARRIVAL = attrgetter("arrival")


class LivePrompts:
    """Every live prompt is in exactly one of three places, each in order of arrival."""

    def __init__(self) -> None:
        self.waiting: list[ScheduledPrompt] = []
        """Those that are not running nor arriving."""
        self.running: list[ScheduledPrompt] = []
        self.arriving: list[ScheduledPrompt] = []
        self.arrivals = 0
        """Prompts that were ever added."""
        self._by_id: dict[str, ScheduledPrompt] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def by_arrival(self) -> list[ScheduledPrompt]:
        """All of them."""
        return list(self._by_id.values())

    @property
    def leaving_blocks(self) -> int:
        """Local blocks of those that are being paged out, which come free when they have left."""
        return sum(prompt.local for prompt in self.waiting if prompt.stand is Stand.LEAVING)

    def add(self, prompt: ScheduledPrompt) -> None:
        """Put a new prompt behind all others; raises ValueError if its id is taken."""
        if prompt.id in self._by_id:
            raise ValueError(f"prompt {prompt.id} is already scheduled")
        self.arrivals += 1
        prompt.arrival = self.arrivals
        self._by_id[prompt.id] = prompt
        self.waiting.append(prompt)

    def remove(self, prompt_id: str) -> ScheduledPrompt | None:
        """Forget a prompt; None if the id is unknown."""
        prompt = self._by_id.pop(prompt_id, None)
        if prompt is not None:
            self._place(prompt).remove(prompt)
        return prompt

    def move(self, prompt: ScheduledPrompt, stand: Stand) -> None:
        """Let a prompt stand elsewhere."""
        before = self._place(prompt)
        prompt.stand = stand
        after = self._place(prompt)
        if after is not before:
            before.remove(prompt)
            insort(after, prompt, key=_ARRIVAL)

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
        prompt.blocks = prompt.local = prompt.computed = 0

    def check(self) -> None:
        """Raise AssertionError unless every prompt is in one place, where its stand says, in order of arrival."""
        assert len(self.running) + len(self.waiting) + len(self.arriving) == len(self), (
            "a prompt is lost, or twice here"
        )
        for place in (self.waiting, self.running, self.arriving):
            assert all(self._place(prompt) is place for prompt in place), "a prompt is where it should not be"
            assert place == sorted(place, key=_ARRIVAL), "prompts are out of order"

    def _place(self, prompt: ScheduledPrompt) -> list[ScheduledPrompt]:
        match prompt.stand:
            case Stand.RUNNING:
                return self.running
            case Stand.ARRIVING:
                return self.arriving
            case _:
                return self.waiting
