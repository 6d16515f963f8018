"""What each tenant has had since the daemon started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import PromptView, TenantView


class TenantTotals:
    """Device time and tokens of prompts that have ended, by tenant.

    Tenants have a key, or are the one of those who need none, so their number is bounded.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        """`weights`: shares of tenants that have a key; 1 for any other. It may change."""
        self._weights = weights
        self._service_s = dict.fromkeys(weights, 0.0)
        self._tokens = Counter(dict.fromkeys(weights, 0))

    def ended(self, prompt: PromptView) -> None:
        """A prompt has ended, and this is the last of it."""
        self._service_s[prompt.tenant] = self._service_s.get(prompt.tenant, 0.0) + prompt.service_s
        self._tokens[prompt.tenant] += prompt.output_tokens

    def views(self, live: Iterable[PromptView]) -> list[TenantView]:
        """What a snapshot shows of each tenant, by name, its `live` prompts included."""
        count: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        tokens, service_s = self._tokens.copy(), dict(self._service_s)
        for prompt in live:
            tenant = prompt.tenant
            count[tenant] += 1
            waiting[tenant] += prompt.state is PromptState.WAITING
            tokens[tenant] += prompt.output_tokens
            service_s[tenant] = service_s.get(tenant, 0.0) + prompt.service_s
        return [
            TenantView(
                name=name,
                weight=self._weights.get(name, 1.0),
                live=count[name],
                waiting=waiting[name],
                service_s=service_s[name],
                output_tokens=tokens[name],
            )
            for name in sorted(service_s)
        ]
