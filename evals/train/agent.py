"""Whether the tool agent answers by itself: measured by asking its own parser and its own tools, without a model."""

from __future__ import annotations

import asyncio
import datetime
import sys
from collections.abc import Iterable

from agents.tools.language import understand
from agents.tools.toolbox import Toolbox

_NOW = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.UTC)


def answers(prompts: Iterable[str]) -> list[bool]:
    """For each prompt: it is understood as a computation, and the computation yields a result."""
    return asyncio.run(_all(list(prompts)))


async def _all(prompts: list[str]) -> list[bool]:
    toolbox = Toolbox(lambda: _NOW, None)
    found = []
    for prompt in prompts:
        try:
            call = understand(prompt, _NOW.date())
            output = await toolbox.call(call.tool, call.arguments) if call else None
        except Exception as error:  # noqa: BLE001 - whatever the agent dies of, it has not answered
            sys.stderr.write(f"the tool agent fails on {prompt[:80]!r}: {type(error).__name__}: {error}\n")
            output = None
        found.append(output is not None and not output.error)
    return found
