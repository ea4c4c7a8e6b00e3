"""Every kind of request, with the official client, through the published port."""

from __future__ import annotations

import base64
import json

import httpx
import openai
import pytest

from tests.containers.deployment import Deployment
from tests.support.screens import invoice


def test_a_chat_is_answered_by_the_local_model(system: Deployment) -> None:
    raw = system.client().chat.completions.with_raw_response.create(
        model="auto",
        messages=[{"role": "user", "content": "Classify the sentiment as positive or negative: 'I loved it.'"}],
        max_tokens=8,
    )
    assert raw.headers["x-turnout-component"] == "small"
    assert raw.parse().choices[0].message.content


def test_a_stream_comes_in_pieces_and_has_an_end(system: Deployment) -> None:
    stream = system.client().chat.completions.create(
        model="small",
        messages=[{"role": "user", "content": "Tell a long story about a train."}],
        max_tokens=24,
        stream=True,
    )
    chunks = list(stream)
    assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) > 1
    assert chunks[-1].choices[0].finish_reason in {"stop", "length"}


def test_a_question_to_the_cloud_reaches_the_upstream_with_its_key(system: Deployment) -> None:
    answer = system.client().chat.completions.create(model="cloud", messages=[{"role": "user", "content": "Hello?"}])
    assert answer.choices[0].message.content == "All is well in the cloud."


def test_a_screen_is_read(system: Deployment) -> None:
    url = "data:image/png;base64," + base64.b64encode(invoice().encoded()).decode()
    raw = system.client().chat.completions.with_raw_response.create(
        model="screen",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is the total?"},
                    {"type": "image_url", "image_url": {"url": url}},
                ],
            }
        ],
        max_tokens=40,
    )
    steps = [step["name"] for step in json.loads(raw.text)["turnout"]["steps"]]
    assert steps[0] == "look"


def test_documents_are_kept_found_and_embedded(system: Deployment) -> None:
    with system.http() as http:
        text = b"The parcel desk closes at 18:45 on Fridays."
        took = http.post("/v1/documents?source=desk.md", content=text, headers={"content-type": "text/markdown"})
        assert took.status_code == 200, took.text
        found = http.post("/v1/search", json={"query": "When does the parcel desk close?", "k": 3}).json()
    assert "18:45" in found["passages"][0]["text"]
    vector = system.client().embeddings.create(model="docs", input="parcel").data[0].embedding
    assert len(vector) == 384


def test_a_large_document_travels_by_reference(system: Deployment) -> None:
    page = f"<html><body><!-- {'x' * 400_000} --><p>The vault opens with a turnip.</p></body></html>"
    with system.http() as http:
        took = http.post("/v1/documents?source=vault.html", content=page, headers={"content-type": "text/html"})
        assert took.status_code == 200, took.text
        found = http.post("/v1/search", json={"query": "What opens the vault?", "k": 1}).json()
    assert "turnip" in found["passages"][0]["text"]


def test_the_tool_agent_calculates(system: Deployment) -> None:
    answer = system.client().chat.completions.create(
        model="tools", messages=[{"role": "user", "content": "What is 17.5% of 2,340 plus 12?"}]
    )
    assert "421.5" in (answer.choices[0].message.content or "")


def test_without_a_key_nobody_gets_in(system: Deployment) -> None:
    client = openai.OpenAI(base_url=f"{system.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.models.list()
    assert httpx.get(f"{system.url}/metrics").status_code == 401


def test_metrics_are_there_for_who_has_the_key(system: Deployment) -> None:
    with system.http((system.secrets / "metrics_key").read_text().strip()) as http:
        assert "turnout_requests_total" in http.get("/metrics").text


def test_nobody_was_refused_anything_on_the_bus(system: Deployment) -> None:
    """The rights are enough for all of the above: nats-server's log has no refusal."""
    assert "ermissions violation" not in system.logs().lower()
