"""Puts one case to a running endpoint under one policy, and judges the answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from evals.live.screenshot import data_url
from evals.live.suite import Case, Suite, right
from services.contracts.errors import TurnoutError
from services.controller.client import as_object, checked, error_message

# What each policy wishes of the routing. A floor of 0 takes the cheapest that can do it at all; one that nothing
# reaches takes the best there is.
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "cheapest": {"quality": 0.0},
    "best": {"quality": 1.0},
    "auto": {},
}


@dataclass(frozen=True)
class Answered:
    """What came of a case. `error` is empty where there was an answer."""

    case: Case
    policy: str
    correct: bool
    component: str
    cost_usd: float
    latency_s: float
    input_tokens: int
    output_tokens: int
    answer: str
    error: str = ""


def ingest(http: httpx.Client, suite: Suite) -> None:
    """Put the suite's documents into the index.

    Raises:
        TurnoutError: one was refused.
    """
    for document in suite.documents:
        headers = {"content-type": "text/markdown"}
        params = {"source": document.source}
        response = http.post("/v1/documents", params=params, content=document.text.encode(), headers=headers)
        if refused := as_object(checked(response)).get("refused"):
            raise TurnoutError(f"{document.source}: {refused[0][1]}")


def ask(
    http: httpx.Client, case: Case, policy: str, model: str = "auto", clock_s: Callable[[], float] = time.perf_counter
) -> Answered:
    """Ask and judge. An error of the endpoint is a wrong answer, and is kept."""
    body = request_body(case, POLICIES[policy], model)
    began = clock_s()
    response = http.post("/v1/chat/completions", json=body)
    latency_s = clock_s() - began
    if not response.is_success:
        return Answered(case, policy, False, "", 0.0, latency_s, 0, 0, "", error_message(response))
    found = as_object(response)
    text = str(found["choices"][0]["message"].get("content") or "")
    about, usage = found.get("turnout") or {}, found.get("usage") or {}
    return Answered(
        case=case,
        policy=policy,
        correct=right(case.check, text),
        component=str(about.get("component", found.get("model", ""))),
        cost_usd=float(about.get("cost_usd", 0.0)),
        latency_s=latency_s,
        input_tokens=int(usage.get("prompt_tokens", 0)),
        output_tokens=int(usage.get("completion_tokens", 0)),
        answer=text,
    )


def request_body(case: Case, wishes: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The request as JSON."""
    content: str | list[dict[str, Any]] = case.prompt
    if case.screen:
        picture = {"type": "image_url", "image_url": {"url": data_url(case.screen)}}
        content = [{"type": "text", "text": case.prompt}, picture]
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": case.max_tokens,
        "temperature": 0,
    }
    if wishes:
        body["turnout"] = dict(wishes)
    if case.schema is not None:
        schema = {"name": "answer", "schema": case.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body
