"""What divisions among servers are to be good at: our aim, and AQUA's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aquahost.placement.aqua_objective import PAIR_UNITS, signed, signed_sum
from aquahost.placement.fleet import Fleet
from aquahost.placement.pairs import Pair
from aquahost.placement.parts import GIB_UNITS, SHARE_UNIT, Part, room_units

_EVEN = 0.002
"""Two servers' memory counts as even if it differs by so much of it."""
_EVEN_TIME = 0.05
"""Likewise their GPUs' time, and memory where nothing depends on it."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What no server's producers may exceed their consumers by."""

    memory: int
    count: int

    def add_to(self, pair: Pair, room: int) -> None:
        """Hold both servers to it."""
        pair.at_most(lambda part: signed(part, room).memory / GIB_UNITS, self.memory / GIB_UNITS)
        pair.at_most(lambda part: signed(part, room).count, self.count)


class OurAim:
    """Least unmet demand, of the worse server too, fewest parts that share a GPU; then even loads."""

    def __init__(self, fleet: Fleet, caps: Caps | None = None) -> None:
        self._gpus, self._room, self._caps = fleet.gpus, room_units(fleet.memory_bytes), caps

    def worth(self, servers: Sequence[Sequence[Part]]) -> tuple[int, ...]:
        """Unmet demand, the worst server's, parts sharing, the heaviest load, the most time asked for; as if all that
        one GPU of a server has to spare could be lent to any other of it."""
        loads = [sum(part.load for part in parts) for parts in servers]
        unmet = [max(0, load - self._gpus * self._room) for load in loads]
        sharing = sum(max(0, sum(part.group for part in parts) - self._gpus) for parts in servers)
        shares = [sum(part.group * part.share for part in parts) for parts in servers]
        return (sum(unmet), max(unmet), sharing, max(loads), max(shares))

    def add_to(self, pair: Pair) -> dict[int, float]:
        """Weights far enough apart that the first thing counts first; all terms would be 0 if all were even.

        A pair that is asked for more than it has leaves no memory idle; of one that has enough nothing stays unmet.
        """
        program, room = pair.program, self._gpus * self._room / GIB_UNITS
        loads = pair.sums(lambda part: part.load / GIB_UNITS)
        half, half_time = pair.mean(lambda part: part.load / GIB_UNITS), pair.mean(_time)
        lacks = half > room
        uneven, uneven_time = program.variable(), program.variable()
        wasted = []
        for one in loads:
            wasted.append(program.variable())
            if lacks:
                program.row(one.terms | {wasted[-1]: 1.0}, low=room - one.constant)
            else:
                program.row(one.terms | {wasted[-1]: -1.0}, high=room - one.constant)
        sharing = pair.excess(lambda part: part.group, self._gpus)
        pair.at_most(lambda part: part.load / GIB_UNITS, half, variable=uneven)
        pair.at_most(_time, half_time, variable=uneven_time)
        if self._caps is not None:
            self._caps.add_to(pair, self._room)
        weights = {uneven: 10.0 if lacks else 1e-3, uneven_time: 1e-2}
        return weights | dict.fromkeys(wasted, 100.0) | dict.fromkeys(sharing, 1.0)

    def settled(self, one: Sequence[Part], other: Sequence[Part]) -> bool:
        """Whether both loads and times are about even, no demand is unmet without need, nor a GPU shared."""
        servers = one, other
        loads = [sum(part.load for part in parts) for parts in servers]
        unmet, worst, sharing, heaviest, _ = self.worth(servers)
        shards = sum(part.group for parts in servers for part in parts)
        even = 2 * heaviest <= (1 + _EVEN) * sum(loads)
        least_unmet = max(0, sum(loads) - 2 * self._gpus * self._room)
        if unmet > least_unmet or (worst and not even) or sharing > max(0, shards - 2 * self._gpus):
            return False
        shares = [sum(part.group * part.share for part in parts) for parts in servers]
        busy = 2 * max(shares) <= (1 + _EVEN_TIME) * sum(shares)
        return busy and 2 * heaviest <= (1 + _EVEN_TIME) * sum(loads)

    def weight(self, part: Part) -> int:
        """Its load."""
        return part.load


class AquaAim:
    """AQUA's objective where producers may exceed consumers by `count` at most: the largest sum of memory."""

    def __init__(self, fleet: Fleet, count: int) -> None:
        self._gpus, self._room, self._count = fleet.gpus, room_units(fleet.memory_bytes), count

    def worth(self, servers: Sequence[Sequence[Part]]) -> tuple[int, ...]:
        """By how much the count is exceeded; the larger sum of memory."""
        sums = [signed_sum(parts, self._room) for parts in servers]
        return (sum(max(0, one.count - self._count) for one in sums), max(one.memory for one in sums))

    def add_to(self, pair: Pair) -> dict[int, float]:
        """A GPU for each shard."""
        uneven = pair.program.variable()
        pair.at_most(lambda part: part.group, self._gpus)
        pair.at_most(self._memory, pair.mean(self._memory), variable=uneven)
        over = pair.excess(lambda part: signed(part, self._room).count, self._count)
        return {uneven: 1.0} | dict.fromkeys(over, PAIR_UNITS / GIB_UNITS)

    def settled(self, one: Sequence[Part], other: Sequence[Part]) -> bool:
        """Whether there is nothing to even out."""
        over, most = self.worth([one, other])
        memory = sum(signed(part, self._room).memory for part in (*one, *other))
        return not over and 2 * most - memory <= _EVEN * self._gpus * self._room

    def weight(self, part: Part) -> int:
        """What it can lend."""
        return signed(part, self._room).memory

    def _memory(self, part: Part) -> float:
        return signed(part, self._room).memory / GIB_UNITS


def _time(part: Part) -> float:
    return part.group * part.share / SHARE_UNIT
