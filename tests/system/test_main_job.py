"""The main job on real parts: real processes, nats-server, GGUF model, OCR, index, and a real HTTP upstream."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from tests.support.running import Running, eventually
from tests.support.screens import Screen, error_dialog, invoice
from tests.support.upstream import Upstream

pytestmark = pytest.mark.system

REASONING = (
    "A train leaves Lyon at 14:10 at 90 km/h, another leaves Paris, 465 km away, at 14:40 at 120 km/h towards it. "
    "After each hour the first loses 5 km/h because of rain, and the second stops for 12 minutes at the halfway point. "
    "Derive step by step when and where they meet, and prove that the answer is unique."
)


def post(system: Running, body: dict[str, Any], **more: Any) -> httpx.Response:
    return httpx.post(f"{system.url}/v1/chat/completions", json=body, timeout=60, **more)


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def picture(screen: Screen) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(screen.encoded()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def asked_of_upstream(upstream: Upstream) -> str:
    return json.dumps([r.body for r in upstream.requests], ensure_ascii=False)


@pytest.mark.parametrize(
    "question",
    [
        "Classify the sentiment of: 'I loved every minute of it.'",
        "Classify the sentiment of this review as positive or negative: 'I loved every minute of it.'",
    ],
)
def test_sentiment_goes_to_the_local_model(system: Running, upstream: Upstream, question: str) -> None:
    upstream.requests.clear()
    answer = system.client().chat.completions.with_raw_response.create(
        model="auto",
        messages=user(question),  # type: ignore[arg-type]
        max_tokens=8,
    )
    assert answer.headers["x-turnout-component"] == "small"
    assert float(answer.headers["x-turnout-cost-usd"]) > 0
    assert answer.parse().choices[0].message.content
    assert not upstream.requests
    decision = system.decision(answer.headers["x-turnout-decision-id"])
    rejected = {"/".join(c["steps"]): c.get("rejected") for c in decision["candidates"]}
    assert rejected["small"] is None
    assert rejected["cloud"] == "dearer"
    assert decision["usage"]["output_tokens"] > 0
    assert decision["total_ms"] > 0


def test_reasoning_goes_to_the_cloud_and_streams_through(system: Running, upstream: Upstream) -> None:
    upstream.requests.clear()
    with system.client().chat.completions.with_streaming_response.create(
        model="auto",
        messages=user(REASONING),  # type: ignore[arg-type]
        stream=True,
        extra_body={"turnout": {"quality": 0.7}},
    ) as answer:
        assert answer.headers["x-turnout-component"] == "cloud"
        chunks = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert len(chunks) > 3
    assert chunks[-1] == "data: [DONE]"
    assert len(upstream.requests) == 1
    assert upstream.requests[0].body["stream"] is True


def test_with_no_cloud_it_degrades_and_says_so(system: Running) -> None:
    response = post(
        system,
        {
            "model": "auto",
            "messages": user(REASONING),
            "max_tokens": 8,
            "turnout": {"quality": 0.9, "privacy": "local"},
        },
    )
    assert response.status_code == 200
    decision = system.decision(response.headers["x-turnout-decision-id"])
    assert "below the floor of 0.90" in decision["degraded"]
    assert response.json()["turnout"]["degraded"] == decision["degraded"]
    strict = post(
        system,
        {
            "model": "auto",
            "messages": user(REASONING),
            "turnout": {"quality": 0.99, "privacy": "local", "strict": True},
        },
    )
    assert strict.status_code == 503
    assert strict.json()["error"]["code"] == "no_capable_component"


@pytest.mark.parametrize("screen", [invoice, error_dialog], ids=["invoice", "error dialog"])
def test_every_line_of_a_screen_reaches_the_answering_model(
    system: Running, upstream: Upstream, screen: Callable[[], Screen]
) -> None:
    upstream.requests.clear()
    shown = screen()
    content = [{"type": "text", "text": "What is shown here, and what should I do?"}, picture(shown)]
    response = post(system, {"model": "cloud", "messages": [{"role": "user", "content": content}]})
    assert response.status_code == 200, response.text
    prompt = asked_of_upstream(upstream)
    for line in shown.texts:
        assert line in prompt
    decision = system.decision(response.headers["x-turnout-decision-id"])
    chosen = next(c for c in decision["candidates"] if c.get("rejected") is None)
    assert chosen["steps"] == ["eyes", "cloud"]
    assert [s["component"] for s in decision["steps"]] == ["eyes"]


def test_screen_agent_answers_with_its_trace(system: Running) -> None:
    content = [{"type": "text", "text": "What is the total?"}, picture(invoice())]
    response = post(system, {"model": "screen", "messages": [{"role": "user", "content": content}], "max_tokens": 40})
    assert response.status_code == 200, response.text
    assert response.headers["x-turnout-component"] == "screen"
    names = [step["name"] for step in response.json()["turnout"]["steps"]]
    assert names[0] == "look"
    assert len(names) >= 3


def test_documents_are_found_and_cited(system: Running, upstream: Upstream) -> None:
    page = "# Parcel desk\n\nThe parcel desk of the Ostend office closes at 18:45 on Fridays. Bring your blue badge.\n"
    put = httpx.post(
        f"{system.url}/v1/documents",
        params={"source": "desk.md"},
        content=page,
        headers={"content-type": "text/markdown"},
        timeout=60,
    )
    assert put.status_code == 200, put.text
    eventually(
        lambda: system.instances("docs")[0].get("facts", {}).get("documents", 0) > 0, what="a document in the index"
    )
    upstream.requests.clear()
    body = {
        "model": "auto",
        "messages": user("When does the parcel desk in Ostend close on Friday?"),
        "turnout": {"quality": 0.75},
        "max_tokens": 60,
    }
    response = post(system, body)
    assert response.status_code == 200, response.text
    sources = response.json()["turnout"]["sources"]
    assert sources[0]["source"] == "desk.md"
    assert "18:45" in sources[0]["text"]
    chosen = next(
        c for c in system.decision(response.headers["x-turnout-decision-id"])["candidates"] if c.get("rejected") is None
    )
    assert chosen["steps"][0] == "docs"
    named = post(system, {"model": "docs", "messages": user("When does the parcel desk close?")})
    assert "18:45" in named.json()["choices"][0]["message"]["content"]


def test_calculation_goes_to_the_tool_agent_and_is_exact(system: Running) -> None:
    response = post(system, {"model": "auto", "messages": user("What is 123456789 * 987654321 + 17.5% of 2340?")})
    assert response.headers["x-turnout-component"] == "tools"
    assert "121932631112635678.5" in response.json()["choices"][0]["message"]["content"].replace(",", "")
    assert response.json()["turnout"]["steps"]


def test_privacy_local_never_reaches_the_upstream(system: Running, upstream: Upstream) -> None:
    upstream.requests.clear()
    for quality in (0.0, 0.9, 1.0):
        for text in (REASONING, "Say hello.", "What is 2 + 2?"):
            response = post(
                system,
                {
                    "model": "auto",
                    "messages": user(text),
                    "max_tokens": 4,
                    "turnout": {"privacy": "local", "quality": quality},
                },
            )
            assert response.status_code == 200, response.text
    pinned = post(system, {"model": "cloud", "messages": user("hi"), "turnout": {"privacy": "local"}})
    assert pinned.status_code == 400
    assert upstream.requests == []


def test_killed_component_comes_back_and_nothing_hangs(system: Running) -> None:
    before = system.instances("small")[0]
    results: list[int | str] = []

    def ask() -> None:
        try:
            stream = system.client(timeout=30.0).chat.completions.create(
                model="small",
                messages=[{"role": "user", "content": "Write a very long story about a lighthouse."}],
                max_tokens=400,
                stream=True,
            )
            for _ in stream:
                pass
            results.append("complete")
        except openai.APIStatusError as error:
            results.append(error.status_code)
        except openai.APIError as error:
            results.append(f"error event: {error.message}")

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    eventually(lambda: system.instances("small")[0]["in_use"] >= 4, what="four slots in use")
    os.kill(before["pid"], signal.SIGKILL)
    ended_by_s = time.monotonic() + 130  # the deadline of a request, and a little
    for thread in threads:
        thread.join(max(0.0, ended_by_s - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads)
    assert len(results) == 6
    # It is started again within the moment that a router waits for it, if the machine is not too busy.
    assert all(r in ("complete", 503) or str(r).startswith("error event") for r in results), results
    eventually(
        lambda: [i for i in system.instances("small") if i["state"] == "ready" and i["pid"] != before["pid"]],
        timeout_s=30,
        what="the component back",
    )
    assert post(system, {"model": "small", "messages": user("hi"), "max_tokens": 4}).status_code == 200


@pytest.mark.parametrize("moment", ["before the first token", "mid-stream", "while queued"])
def test_client_that_leaves_frees_its_slot_within_100_ms(system: Running, upstream: Upstream, moment: str) -> None:
    """Best of five: the machine that runs the tests is shared, the mechanism is not."""

    def in_use() -> tuple[int, int]:
        instance = system.instances("small")[0]
        return instance.get("in_use", 0), instance.get("queued", 0)

    def leave_once() -> float:
        eventually(lambda: in_use() == (0, 0), what="an idle component")
        long_prompt = "word " * 1200 if moment == "before the first token" else ""
        body = {
            "model": "small",
            "stream": True,
            "messages": user(f"{long_prompt}Count from 1 to 1000, every number."),
            "max_tokens": 700,
        }
        with ExitStack() as stack:
            clients = [stack.enter_context(sent(system, body)) for _ in range(6 if moment == "while queued" else 1)]
            wanted = (4, 2) if moment == "while queued" else (1, 0)
            eventually(lambda: in_use() >= wanted, what="the slots taken")
            if moment == "mid-stream":
                assert b"data: " in clients[0].recv(65536)
            for client in clients:
                client.close()
            left_s = time.perf_counter()
            eventually(lambda: in_use() == (0, 0), what="the slot free again")
            return time.perf_counter() - left_s

    took_s = [leave_once() for _ in range(5)]
    assert min(took_s) < 0.1, took_s


def sent(system: Running, body: dict[str, Any]) -> socket.socket:
    """A bare connection with a request on it, so that hanging up is just that."""
    where, content = urlsplit(system.url), json.dumps(body).encode()
    client = socket.create_connection((where.hostname, where.port), timeout=30)
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
    )
    return client


def test_absent_cloud_is_listed_as_not_configured(system: Running) -> None:
    (absent,) = system.instances("absent")
    assert absent["state"] == "unconfigured"
    assert "TURNOUT_TEST_NO_SUCH_KEY" in absent["detail"]
    response = post(system, {"model": "absent", "messages": user("hi")})
    assert response.status_code == 503
    assert "TURNOUT_TEST_NO_SUCH_KEY" in response.json()["error"]["message"]
