"""PURE: a token bucket, on the clock that it is given."""

from __future__ import annotations

SECONDS_A_MINUTE = 60.0


class TokenBucket:
    """`per_minute` units a minute, of which a minute's worth can be saved up. Times are seconds of one clock.

    What is taken is never more than a minute's worth and `per_minute` for each minute since; only `charge`, for what
    was not known beforehand, goes beyond, and nothing more is to be had until that is made good.
    """

    __slots__ = ("_at_s", "_level", "per_minute")

    def __init__(self, per_minute: float, now_s: float) -> None:
        self.per_minute = per_minute
        self._level, self._at_s = float(per_minute), now_s

    def take(self, units: float, now_s: float) -> float:
        """Take `units` if they are there, and return 0.0; else take nothing and return the seconds until they are.

        More than the bucket ever holds is taken as all of it.
        """
        units = min(units, self.per_minute)
        missing = units - self._filled(now_s)
        if missing > 0:
            return self._seconds(missing)
        self._level -= units
        return 0.0

    def charge(self, units: float, now_s: float) -> None:
        """Take `units` whether they are there or not; negative ones are given back."""
        self._level = min(self._filled(now_s) - units, self.per_minute)

    def remaining(self, now_s: float) -> int:
        """Whole units that are there now."""
        return max(0, int(self._filled(now_s)))

    def full_in_s(self, now_s: float) -> float:
        """Seconds until as many are there as there ever are."""
        return self._seconds(self.per_minute - self._filled(now_s))

    def _filled(self, now_s: float) -> float:
        past_s = max(0.0, now_s - self._at_s)
        self._level = min(self.per_minute, self._level + past_s * self.per_minute / SECONDS_A_MINUTE)
        self._at_s = max(self._at_s, now_s)
        return self._level

    def _seconds(self, units: float) -> float:
        return max(0.0, units) * SECONDS_A_MINUTE / self.per_minute
