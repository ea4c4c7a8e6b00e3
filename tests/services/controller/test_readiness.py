from __future__ import annotations

import shlex

import pytest

from services.contracts.beat import Beat, State
from services.contracts.keeper import Instance
from services.controller.readiness import Programs, Readiness, welcome


def beat(component: str, state: State, kind: str = "vision") -> Beat:
    return Beat(component, kind, f"{component}-1", 1, 1, "host", state)


def expected(*components: str) -> list[Instance]:
    return [Instance(name, "vision", f"{name}-1") for name in components]


def test_a_start_is_complete_when_all_serve_or_wait_for_a_key() -> None:
    now = Readiness.of(expected("a", "b"), [beat("b", "unconfigured"), beat("a", "ready")])
    assert now.complete
    assert ([b.component for b in now.ready], [b.component for b in now.unconfigured]) == (["a"], ["b"])


@pytest.mark.parametrize("state", ["starting", "draining", "failed"])
def test_anything_else_is_awaited(state: State) -> None:
    now = Readiness.of(expected("a", "b", "c"), [beat("a", state), beat("b", "ready")])
    assert now.awaited == ("a-1", "c-1")
    assert not now.complete


def test_beats_of_strangers_count_for_nothing() -> None:
    assert Readiness.of(expected("a"), [beat("x", "ready")]).awaited == ("a-1",)


def examples(readiness: Readiness, *, key_needed: bool = False) -> list[str]:
    text = welcome(
        "http://h:1", readiness, 2.0, Programs(".venv/bin/turnout", ".venv/bin/python"), key_needed=key_needed
    )
    first, *rest = text.split("\n\n")
    assert first.startswith("Turnout is ready at http://h:1 after 2.0 s: ")
    assert "\n" not in first
    assert len(rest) == 3
    return rest


def test_the_examples_can_be_pasted_into_a_shell() -> None:
    curl, ask, python = examples(Readiness.of(expected("a"), [beat("a", "ready")]))
    assert shlex.split(curl)[:2] == ["curl", "http://h:1/v1/chat/completions"]
    assert shlex.split(ask)[:4] == [".venv/bin/turnout", "ask", "--url", "http://h:1"]
    program = shlex.split(python)
    assert program[:2] == [".venv/bin/python", "-c"]
    compile(program[2], "example", "exec")


def test_the_example_fits_what_runs() -> None:
    assert "--model calc" in examples(Readiness.of(expected("calc"), [beat("calc", "ready", "tool_agent")]))[1]
    assert "--image" in examples(Readiness.of(expected("eyes"), [beat("eyes", "ready")]))[1]
    assert "--" not in examples(Readiness.of(expected("a"), [beat("a", "ready", "llm_local")]))[1].replace("--url", "")


def test_where_keys_are_needed_the_examples_send_one() -> None:
    curl, _, python = examples(Readiness.of(expected("a"), [beat("a", "ready")]), key_needed=True)
    assert "Bearer '$TURNOUT_API_KEY" in curl
    assert 'os.environ["TURNOUT_API_KEY"]' in python
