"""What work costs. One pure function, used to predict and to settle, so the two never disagree."""

from __future__ import annotations

import msgspec

from services.contracts.events import Usage

_PER_MILLION = 1e-6


class Price(msgspec.Struct, frozen=True, omit_defaults=True):
    """USD per million tokens, and per request. `cached` is the price of input tokens the vendor had cached."""

    input_usd_per_mtok: float = 0.0
    output_usd_per_mtok: float = 0.0
    cached_usd_per_mtok: float | None = None
    request_usd: float = 0.0

    def cost_usd(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """The price of one answer. `cached_tokens` are among `input_tokens`."""
        cached_rate = self.input_usd_per_mtok if self.cached_usd_per_mtok is None else self.cached_usd_per_mtok
        fresh = max(0, input_tokens - cached_tokens)
        tokens_usd = fresh * self.input_usd_per_mtok + cached_tokens * cached_rate
        return self.request_usd + (tokens_usd + output_tokens * self.output_usd_per_mtok) * _PER_MILLION

    def settle(self, usage: Usage) -> Usage:
        """`usage` with its cost filled in from its tokens."""
        cost = self.cost_usd(usage.input_tokens, usage.output_tokens, usage.cached_tokens)
        return msgspec.structs.replace(usage, cost_usd=cost)
