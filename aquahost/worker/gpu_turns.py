"""A worker's turns on a GPU that it may share: asked before every step, and told after it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from aquahost.clock import Clock
from aquahost.scheduling.gpu_turns import PATIENCE_S, SLICE_S, STALE_S, is_silent, may_take, must_let_go, start_s
from aquahost.worker.turn_board import NoSlotError, TurnBoard

logger = logging.getLogger(__name__)

LOOK_S = 0.001
"""Pause between two looks at whose turn it is."""
DOUBT_S = 0.2
"""A holder not heard of for this long may have ended; whether it has costs a system call or two to ask."""
LET_GO_S = 0.002
"""How long to try for the board's lock to let go; whoever fails computes one step more."""


class Turns(Protocol):
    """Says when this worker may compute. All methods return at once, or in a few milliseconds."""

    def take(self) -> bool:
        """Whether to do a step now; if so, `stepped` follows."""
        ...

    def stepped(self, *, more: bool) -> None:
        """A step is done. `more`: another is due at once."""
        ...

    def rest(self) -> None:
        """Nothing is to be computed at present."""
        ...

    def wait_s(self) -> float:
        """How long the loop is to wait for messages before it asks again; 0 unless it is another's turn."""
        ...


class Unshared:
    """Turns on a GPU that nobody shares."""

    def take(self) -> bool:
        """Always."""
        return True

    def stepped(self, *, more: bool) -> None:
        """Nobody waits."""

    def rest(self) -> None:
        """Nobody waits."""

    def wait_s(self) -> float:
        """Never."""
        return 0.0


class GpuTurns:
    """Turns on a GPU by what all its workers have written on their board. Belongs to the thread of the loop.

    A step goes ahead without the turn only if the board's lock cannot be had for `PATIENCE_S`: someone was stopped in
    the microseconds in which it had it.
    """

    def __init__(self, board: TurnBoard, clock: Clock, finish_work: Callable[[], None]) -> None:
        """`finish_work` waits for all that was launched on the GPU: the next one's turn must not begin before."""
        self._board = board
        self._clock = clock
        self._finish_work = finish_work
        self._holds = False
        self._wants = False
        self._waits = False
        self._virtual_s = 0.0
        self._seen_s = 0.0
        self._since_s = 0.0
        """When the turn was taken."""
        self._charged_s = 0.0
        """Up to when device time is charged."""
        self._locked_out_since_s: float | None = None

    def take(self) -> bool:
        """Have the turn if it is to be had. Microseconds where this worker has had it, or is alone."""
        now_s = self._clock.now_s()
        if self._holds and self._board.turn().holder != self._board.slot:
            self._holds = False  # we were silent for too long
        if not self._holds:
            self._want(now_s)
            self._waits = not self._try_to_take(now_s)
            if self._waits:
                return False
            self._since_s = self._charged_s = now_s
        self._write(now_s)
        return True

    def stepped(self, *, more: bool) -> None:
        """Charge what the step took, and let go if the slice is over, or if there is nothing to do."""
        now_s = self._charge()
        board = self._board
        if not more or must_let_go(board.slot, board.sharers(), now_s - self._since_s, now_s):
            self._let_go(wants=more)

    def rest(self) -> None:
        """Let go, and wait for no turn."""
        self._waits = False
        if self._holds or self._wants:
            self._let_go(wants=False)

    def wait_s(self) -> float:
        """`LOOK_S` while it is another's turn."""
        return LOOK_S if self._waits else 0.0

    def _want(self, now_s: float) -> None:
        # A step that only waits for copies is no idling: who comes back at once keeps its claim.
        if now_s - self._seen_s > (STALE_S if self._wants else SLICE_S):
            self._virtual_s = start_s(self._board.slot, self._board.sharers(), now_s)
        self._wants = True
        self._write(now_s)

    def _try_to_take(self, now_s: float) -> bool:
        """Take the turn, or find that this step may go ahead without it."""
        board = self._board
        holder = board.turn().holder
        if holder not in (None, board.slot) and now_s - board.sharer(holder).seen_s <= DOUBT_S:
            return False
        with board.locked(0.0) as mine:
            if not mine:
                return self._is_locked_out(now_s)
            self._locked_out_since_s = None
            turn = board.turn()
            if turn.holder is not None and not self._has_lost_it(turn.holder, now_s):
                return False
            self._holds = may_take(board.slot, board.sharers(), turn.freed_s, now_s)
            if self._holds:
                board.hold()
            return self._holds

    def _has_lost_it(self, holder: int, now_s: float) -> bool:
        board = self._board
        return holder == board.slot or is_silent(board.sharer(holder), now_s) or board.has_ended(holder)

    def _is_locked_out(self, now_s: float) -> bool:
        if self._locked_out_since_s is None:
            self._locked_out_since_s = now_s
        return now_s - self._locked_out_since_s > PATIENCE_S

    def _let_go(self, *, wants: bool) -> None:
        if self._holds:
            self._finish_work()
            now_s = self._charge()
            with self._board.locked(LET_GO_S) as mine:
                if not mine:
                    return  # after the next step, or at the next look
                if self._board.turn().holder == self._board.slot:
                    self._board.free(now_s)
            self._holds = False
        self._wants = wants
        self._write(self._clock.now_s())

    def _charge(self) -> float:
        now_s = self._clock.now_s()
        # Whoever was silent for longer had not the turn then.
        self._virtual_s += min(now_s - self._charged_s, PATIENCE_S)
        self._charged_s = now_s
        self._write(now_s)
        return now_s

    def _write(self, now_s: float) -> None:
        self._seen_s = now_s
        self._board.write(now_s=now_s, wants=self._wants, virtual_s=self._virtual_s)


def turns_at(path: str, clock: Clock, finish_work: Callable[[], None]) -> Turns:
    """Turns on the board at `path`; if it cannot be used, the GPU counts as unshared."""
    try:
        return GpuTurns(TurnBoard(path, patience_s=PATIENCE_S), clock, finish_work)
    except (OSError, NoSlotError) as error:
        logger.warning("this model computes whenever it wants, whoever shares its GPU: %s", error)
        return Unshared()
