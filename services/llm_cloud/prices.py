"""What the upstream's tokens cost: the catalog's word first, else the table of `genai-prices`."""

from __future__ import annotations

import structlog

from services.contracts.catalog import LlmCloud
from services.contracts.price import Price

log = structlog.get_logger()

# Small enough to stay within the first tier of those who charge more for long prompts.
_SAMPLE_TOKENS = 1000
_PER_MTOK = 1_000_000 / _SAMPLE_TOKENS


def price_of(spec: LlmCloud, base_url: str) -> Price:
    """The price of `spec.model` at `base_url`; free, with a warning, if nobody knows."""
    if spec.price is not None:
        return spec.price.to_price()
    # Loading the table takes 0.3 s: only who needs it pays.
    from genai_prices import Usage, calc_price  # noqa: PLC0415

    def cost_usd(usage: Usage) -> float:
        return float(calc_price(usage, spec.model, provider_api_url=base_url).total_price)

    try:
        request_usd = cost_usd(Usage(input_tokens=0, output_tokens=0))
        return Price(
            input_usd_per_mtok=_rate(cost_usd(Usage(input_tokens=_SAMPLE_TOKENS)), request_usd),
            output_usd_per_mtok=_rate(cost_usd(Usage(output_tokens=_SAMPLE_TOKENS)), request_usd),
            cached_usd_per_mtok=_rate(
                cost_usd(Usage(input_tokens=_SAMPLE_TOKENS, cache_read_tokens=_SAMPLE_TOKENS)), request_usd
            ),
            request_usd=request_usd,
        )
    except (LookupError, ValueError) as error:
        log.warning(
            "price_unknown", model=spec.model, base_url=base_url, reason=str(error), use="price: in the catalog"
        )
        return Price()


def _rate(cost_usd: float, request_usd: float) -> float:
    return round(max(0.0, cost_usd - request_usd) * _PER_MTOK, 6)
