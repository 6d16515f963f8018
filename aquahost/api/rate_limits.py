"""What tenants may ask for in a minute: requests, and tokens; told in OpenAI's headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from aquahost.api.errors import RateLimitedError
from aquahost.api.token_bucket import TokenBucket
from aquahost.clock import Clock
from aquahost.config.settings import TenantSettings
from aquahost.messages.prompts import Accepted, Output, Request, TextRequest, Tokens

CHARACTERS_A_TOKEN = 4
"""By which a text's tokens are guessed until its model has counted them."""
RATE_HEADERS = tuple(
    f"{figure}-{what}" for what in ("requests", "tokens") for figure in ("limit", "remaining", "reset")
)
"""The headers' names, behind `x-ratelimit-`."""
UNSAID_TOKENS = 256
"""What is set aside for a reply whose request names no max_tokens."""


class Reservation:
    """Tokens set aside for one request's prompts, until it is known how many they took; none for images and sounds, and
    where nothing limits them."""

    def __init__(self, tokens: float = 0.0, allowance: Allowance | None = None) -> None:
        self._tokens, self._allowance = tokens, allowance
        self._used, self._is_settled = 0, not tokens

    def note(self, outputs: Sequence[Output]) -> None:
        """Count what a prompt has put out."""
        if self._is_settled:
            return
        for output in outputs:
            if isinstance(output, Tokens):
                self._used += len(output.token_ids)
            elif isinstance(output, Accepted):
                self._used += output.input_tokens

    def settle(self) -> None:
        """The prompts have ended: what they did not use is given back, what they used beyond is charged. Once."""
        if self._allowance is not None and not self._is_settled:
            self._allowance.charge_tokens(self._used - self._tokens)
        self._is_settled = True

    def headers(self) -> dict[str, str]:
        """How much of its limits the tenant has left."""
        return self._allowance.headers() if self._allowance is not None else {}


class Allowance:
    """One tenant's buckets; None where nothing limits it."""

    def __init__(
        self, requests: TokenBucket | None, tokens: TokenBucket | None, clock: Clock, limited: Counter[str]
    ) -> None:
        """`limited` counts refusals, by what there was too much of."""
        self._requests, self._tokens, self._clock = requests, tokens, clock
        self._limited = limited

    def spend_request(self) -> None:
        """Count a request, whatever comes of it. Raises RateLimitedError."""
        if self._requests is not None:
            wait_s = self._requests.take(1, self._clock.now_s())
            self._refuse(wait_s, self._requests, "requests")

    def reserve(self, requests: Sequence[Request]) -> Reservation:
        """Set tokens aside for prompts. Raises RateLimitedError."""
        tokens = 0.0
        if self._tokens is not None:
            wanted = sum(likely_tokens(request) for request in requests)
            tokens = min(wanted, self._tokens.per_minute)
            self._refuse(self._tokens.take(tokens, self._clock.now_s()), self._tokens, "tokens")
        return Reservation(tokens, self)

    def charge_tokens(self, tokens: float) -> None:
        """Take tokens that have been used already, or give back (negative ones) what was reserved and not used."""
        if self._tokens is not None:
            self._tokens.charge(tokens, self._clock.now_s())

    def headers(self) -> dict[str, str]:
        """OpenAI's `x-ratelimit-*`: what there is in a minute, what is left of it, and when all of it is there."""
        now_s, headers = self._clock.now_s(), {}
        for what, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is not None:
                headers[f"x-ratelimit-limit-{what}"] = f"{bucket.per_minute:.0f}"
                headers[f"x-ratelimit-remaining-{what}"] = str(bucket.remaining(now_s))
                headers[f"x-ratelimit-reset-{what}"] = duration(bucket.full_in_s(now_s))
        return headers

    def _refuse(self, wait_s: float, bucket: TokenBucket, what: str) -> None:
        if wait_s > 0:
            self._limited[what] += 1
            message = f"you may use {bucket.per_minute:.0f} {what} a minute; try again in {duration(wait_s)}"
            raise RateLimitedError(message, wait_s, self.headers())


class RateLimits:
    """Every tenant's allowance. Who has no limits, and who is no configured tenant, may ask for anything."""

    def __init__(self, tenants: Mapping[str, TenantSettings], clock: Clock) -> None:
        self._clock = clock
        self.limited: Counter[str] = Counter(requests=0, tokens=0)
        """Refusals since the start, by what there was too much of: requests or tokens."""
        self._free = Allowance(None, None, clock, self.limited)
        self._rates: dict[str, tuple[int | None, int | None]] = {}
        self._of: dict[str, Allowance] = {}
        self.use(tenants)

    def use(self, tenants: Mapping[str, TenantSettings]) -> None:
        """Go by these limits from now on. What a tenant has used counts on where its limits are the same."""
        rates = {name: (tenant.requests_per_minute, tenant.tokens_per_minute) for name, tenant in tenants.items()}
        self._of = {
            name: self._of[name] if self._rates.get(name) == rate else self._allowance(*rate)
            for name, rate in rates.items()
        }
        self._rates = rates

    def of(self, tenant: str) -> Allowance:
        """The tenant's allowance."""
        return self._of.get(tenant, self._free)

    def _allowance(self, requests: int | None, tokens: int | None) -> Allowance:
        return Allowance(_bucket(requests, self._clock), _bucket(tokens, self._clock), self._clock, self.limited)


def likely_tokens(request: Request) -> int:
    """About how many tokens a prompt takes, its whole reply included; 0 for images and sounds."""
    if not isinstance(request, TextRequest):
        return 0
    reply = UNSAID_TOKENS if request.sampling.max_tokens is None else request.sampling.max_tokens
    if request.token_ids is not None:
        return len(request.token_ids) + reply
    characters = len(request.text or "") + sum(len(message["content"]) for message in request.messages or ())
    return characters // CHARACTERS_A_TOKEN + 1 + reply


def duration(seconds: float) -> str:
    """A length of time as OpenAI's headers have it: "120ms", "1.5s", "6m0s"."""
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    minutes, rest_s = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f}m{rest_s:g}s" if minutes else f"{rest_s:g}s"


def _bucket(per_minute: int | None, clock: Clock) -> TokenBucket | None:
    return None if per_minute is None else TokenBucket(per_minute, clock.now_s())
