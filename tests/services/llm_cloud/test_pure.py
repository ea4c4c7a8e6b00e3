"""The decisions that need neither socket nor clock: waiting, prices, URLs, proxies."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from services.bus.memory import MemoryBus
from services.contracts.catalog import LlmCloud, PriceSpec, ToolAgent
from services.contracts.errors import ConfigError
from services.contracts.price import Price
from services.llm_cloud.backoff import parse_retry_after, pause_s
from services.llm_cloud.prices import price_of
from services.llm_cloud.service import build
from services.llm_cloud.transport import DirectTransport, make_transport
from services.worker.service import Surroundings

AROUND = Surroundings(MemoryBus(), "cloud", "cloud-1")


def spec(**more: Any) -> LlmCloud:
    return LlmCloud(**{"kind": "llm_cloud", "model": "m", **more})


def test_pauses_grow_with_each_attempt_and_never_past_a_limit() -> None:
    assert [pause_s(attempt, None, 1.0) for attempt in (0, 1, 2, 50)] == [0.2, 0.4, 0.8, 5.0]
    assert pause_s(3, None, 0.0) == 0.0


def test_the_upstreams_wish_is_a_lower_bound() -> None:
    assert pause_s(0, 3.0, 0.0) == 3.0
    assert 3.0 < pause_s(0, 3.0, 1.0) < 3.5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("1e30", 86_400.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("9" * 500, None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, now_s=100.0) == seconds


def test_known_models_have_their_vendors_price() -> None:
    price = price_of(spec(model="gpt-4o"), "https://api.openai.com/v1")
    assert (price.input_usd_per_mtok, price.output_usd_per_mtok, price.cached_usd_per_mtok) == (2.5, 10.0, 1.25)
    assert price_of(spec(model="claude-sonnet-4-5"), "https://api.anthropic.com/v1").output_usd_per_mtok == 15.0


@pytest.mark.parametrize(
    ("model", "url"), [("no-such-model", "https://api.openai.com/v1"), ("gpt-4o", "http://127.0.0.1:9/v1")]
)
def test_an_unknown_price_is_zero_with_a_warning(model: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert price_of(spec(model=model), url) == Price()
    out, err = capsys.readouterr()
    assert "price_unknown" in out + err


def test_the_catalogs_price_wins() -> None:
    own = spec(model="gpt-4o", price=PriceSpec(input_usd_per_mtok=7, output_usd_per_mtok=8))
    assert price_of(own, "https://api.openai.com/v1") == Price(7.0, 8.0)


@pytest.mark.parametrize(
    "url", ["ftp://x/v1", "//x/v1", "http://", "http://u:p@x/v1", "http://x/v1?k=1", "http://x/#f", "http://x:99999/v1"]
)
async def test_a_base_url_that_cannot_work_is_refused_at_start(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        await build(spec(base_url=url), AROUND).start()


def test_another_kinds_section_is_refused() -> None:
    with pytest.raises(ConfigError):
        build(ToolAgent(kind="tool_agent"), AROUND)


async def test_a_proxy_in_the_environment_is_used_except_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "direct.example")
    for url, direct in (
        ("https://api.example/v1", False),
        ("https://direct.example/v1", True),
        ("https://127.0.0.1/v1", True),
        ("https://localhost/v1", True),
        ("http://api.example/v1", True),
    ):
        transport = make_transport(httpx.URL(url), 4)
        assert isinstance(transport, DirectTransport) is direct, url
        await transport.aclose()


async def test_a_proxy_that_cannot_be_used_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks9://proxy.example:1")
    with pytest.raises(ConfigError, match="proxy"):
        make_transport(httpx.URL("https://api.example/v1"), 4)
