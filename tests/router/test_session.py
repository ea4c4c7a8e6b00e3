"""Conversations are found again by what was said before, within bounds of number and time."""

from __future__ import annotations

import time

from router.session import KEPT, KEPT_S, Held, Sessions, conversation_of
from services.contracts.messages import ChatRequest, EmbedRequest, Message, Task, TextPart
from tests.router.test_policy import beat

SMALL = beat("small", "llm_local")


def task(*turns: str, tenant: str = "") -> Task:
    """Turns of user and assistant by turns, behind a system prompt."""
    roles = ("user", "assistant")
    messages = (Message("system", "S"), *(Message(roles[i % 2], text) for i, text in enumerate(turns)))  # type: ignore[arg-type]
    return Task("t", "t", "auto", ChatRequest(messages), "", 0.0, tenant=tenant)


def test_a_follow_up_finds_who_has_read_the_turns_before() -> None:
    sessions = Sessions(lambda: 0.0)
    sessions.remember(task("a" * 400), SMALL)
    assert sessions.held(task("a" * 400, "b" * 399, "and?")) == Held("small", "small-1", 200)
    assert sessions.held(task("a" * 400)) is None
    assert sessions.held(task("other", "b", "and?")) is None
    assert sessions.held(task("a" * 400, "b", "and?", tenant="else")) is None


def test_the_last_reader_counts() -> None:
    sessions = Sessions(lambda: 0.0)
    sessions.remember(task("a"), SMALL)
    sessions.remember(task("a"), beat("small", "llm_local", 2))
    found = sessions.held(task("a", "b", "c"))
    assert found is not None
    assert found.instance == "small-2"


def test_it_forgets_by_time_and_by_number() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    sessions.remember(task("a"), SMALL)
    now[0] = KEPT_S + 1
    assert sessions.held(task("a", "b", "c")) is None
    for number in range(KEPT + 1):
        sessions.remember(task(str(number)), SMALL)
    assert sessions.held(task("0", "b", "c")) is None
    assert sessions.held(task(str(KEPT), "b", "c")) is not None


def test_whatever_a_request_holds_it_can_be_remembered() -> None:
    sessions = Sessions(time.monotonic)
    parts = ChatRequest((Message("user", (TextPart("a"),)), Message("assistant", ""), Message("user", "b")))
    for request in (parts, EmbedRequest(("a",)), ChatRequest(())):
        one = Task("t", "t", "auto", request, "", 0.0)
        sessions.remember(one, SMALL)
        assert sessions.held(one) is None


def test_a_conversation_has_one_name_in_every_router_and_on_every_turn() -> None:
    name = conversation_of(task("a"))
    assert conversation_of(task("a", "b", "c", "d", "e")) == name
    assert name == "66f67db30eb79892"  # whichever process computes it
    others = [
        task("b"),
        task("a", tenant="else"),
        Task("t", "t", "auto", ChatRequest((Message("user", "a"),)), "", 0.0),
    ]
    assert len({name, *map(conversation_of, others)}) == 4


def test_whatever_is_no_conversation_has_a_name_of_its_own() -> None:
    assert conversation_of(Task("t", "root", "auto", EmbedRequest(("a",)), "", 0.0)) == "root"
    assert conversation_of(Task("t", "root", "auto", ChatRequest(()), "", 0.0))
    assert conversation_of(task("\ud800"))
