"""The tool agent with models that were trained to call tools, served by `llm_local`.

They are too large to come with the project: the environment variable TURNOUT_TEST_MODELS names the folder they are in.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.tools.grounding import is_call
from agents.tools.service import ToolAgent
from services.bus.memory import MemoryBus
from services.contracts import catalog
from services.contracts.events import Step
from services.llm_local.service import LocalModel
from services.llm_local.source import digest
from services.worker.service import Surroundings
from tests.support.direct import Direct, chat, serving
from tests.support.routing import team

FOLDER = os.environ.get("TURNOUT_TEST_MODELS", "")
SMALL, LARGER = (f"qwen2.5-coder-{size}-instruct-q4_k_m.gguf" for size in ("0.5b", "1.5b"))
NOW = datetime(2024, 5, 15, 12, 30, tzinfo=UTC)
TIMEOUT_S = 300.0  # a busy machine reads the rules and the tools, 900 tokens, in a minute
_CALL = re.compile(r"(\w+)\((\{.*\})\)")

pytestmark = pytest.mark.skipif(not FOLDER, reason="TURNOUT_TEST_MODELS names no folder of GGUFs")


@asynccontextmanager
async def agent(file: str) -> AsyncIterator[Direct]:
    path = Path(FOLDER, file)
    if not path.is_file():
        pytest.skip(f"{file} is not in TURNOUT_TEST_MODELS")
    spec = catalog.LlmLocal(
        kind="llm_local", source=f"file:{path}", sha256=digest(path), slots=1, context_tokens=4096, threads=2
    )
    async with team(chat=LocalModel(spec, Surroundings(MemoryBus(), "qwen", "qwen-1"))) as peers:
        around = Surroundings(peers.bus, "tools", "tools-1", roster=peers.roster)
        tools = ToolAgent(catalog.ToolAgent(kind="tool_agent"), around, lambda: NOW)
        async with serving(peers.bus, tools, component="tools") as direct:
            yield direct


def calls(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    """What the model asked for, each call once."""
    found = [_CALL.fullmatch(line) for step in steps if step.name == "model" for line in step.output.splitlines()]
    return list(dict.fromkeys((match[1], match[2]) for match in found if match is not None))


@pytest.mark.parametrize(
    ("file", "question", "tool", "output", "number"),
    [
        (SMALL, "I pack 17 boxes of 23 nails each. How many nails is that?", "calculate", "17 * 23 = 391", "391"),
        (
            SMALL,
            "My lease began on 2021-03-15 and ended on 2023-11-02. How many days did it last?",
            "days_between",
            "From 2021-03-15 to 2023-11-02: 962 days (2 years, 7 months, 18 days).",
            "962",
        ),
        (
            LARGER,
            "A shop sells 48 pens at 1.35 euros each. What do they cost?",
            "calculate",
            "48 * 1.35 = 64.8",
            "64.8",
        ),
    ],
    ids=["multiplication, 0.5B", "dates, 0.5B", "decimals, 1.5B"],
)
async def test_a_real_model_calls_the_tool_and_the_answer_is_exact(
    file: str, question: str, tool: str, output: str, number: str
) -> None:
    async with agent(file) as direct:
        text, finished = await direct.text(chat(question, temperature=0.0), timeout_s=TIMEOUT_S)
    assert number in text
    assert not is_call(text)
    made = [(step.name, step.input) for step in finished.steps if step.name != "model"]
    assert made == calls(finished.steps), "each call is in the trace, in the order of the calls"
    assert (tool, output) in [(step.name, step.output) for step in finished.steps]
    assert finished.steps[0].component == "chat-peer"
    assert finished.usage.output_tokens > 0
