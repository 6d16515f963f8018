"""What no plan can be better than, from sums alone; in MiB, parts and parts of a GPU's time."""

from __future__ import annotations

from collections.abc import Sequence

from aquahost.placement.fleet import Fleet
from aquahost.placement.parts import SHARE_UNIT, Part, room_units


def unmet_bound(parts: Sequence[Part], fleet: Fleet) -> int:
    """Unmet demand: what one server lacks for a part alone, and all servers together for the rest; or what no GPU may
    have for each part."""
    capacity = fleet.gpus * room_units(fleet.memory_bytes)
    over = [max(0, part.load - capacity) for part in parts]
    rest = sum(part.load for part in parts) - sum(over) - fleet.servers * capacity
    return max(sum(over) + max(0, rest), sum(_alone(part, fleet) for part in parts))


def worst_unmet_bound(parts: Sequence[Part], fleet: Fleet) -> int:
    """Unmet demand of the worst server."""
    capacity = fleet.gpus * room_units(fleet.memory_bytes)
    worst = max((max(part.load - capacity, _alone(part, fleet)) for part in parts), default=0)
    return max(worst, -(-unmet_bound(parts, fleet) // fleet.servers))


def sharing_bound(parts: Sequence[Part], fleet: Fleet) -> int:
    """Parts beyond the first on each GPU."""
    return max(0, sum(part.group for part in parts) - fleet.all_gpus)


def busiest_bound(parts: Sequence[Part], fleet: Fleet) -> float:
    """The busiest GPU's use of its time."""
    most = max((part.share for part in parts), default=0)
    return max(most, sum(part.group * part.share for part in parts) / fleet.all_gpus) / SHARE_UNIT


def _alone(part: Part, fleet: Fleet) -> int:
    """Unmet demand of a part that has the fleet to itself."""
    lends = fleet.lends and fleet.gpus > 1
    own = max(0, min(part.flexible, room_units(fleet.memory_bytes) - part.taken))
    away = part.flexible_away if lends else 0
    return part.group * (max(0, part.flexible - own - away) + (0 if lends else part.remote))
