"""A load as users make it: the official client, streamed and plain in turn, and every answer looked at."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import openai
from openai import AsyncOpenAI

from evals.prove.tally import Outcome

_TIMEOUT_S = 120.0
_PROMPTS = (
    "Classify the sentiment as positive or negative: 'I loved this film.'",
    "Name a colour.",
    "Write one sentence about trains.",
    "What is the capital of France?",
    "Count from one to five.",
)


@dataclass
class Load:
    """Requests that go on until they are told to stop. `outcomes` grows as they end.

    Attributes:
        streams_only: no plain requests between the streamed ones.
    """

    url: str
    model: str
    clients: int
    max_tokens: int
    streams_only: bool = False
    prompts: tuple[str, ...] = _PROMPTS
    outcomes: list[Outcome] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        """Ask all the time while the block runs; at its end, every request that has begun is finished."""
        async with AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=_TIMEOUT_S
        ) as client:
            asking = [asyncio.create_task(self._ask_on(client, number)) for number in range(self.clients)]
            try:
                yield self
            finally:
                self._stop.set()
                await asyncio.gather(*asking)

    async def until(self, count: int) -> None:
        """Return when so many requests have ended."""
        while len(self.outcomes) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def _ask_on(self, client: AsyncOpenAI, number: int) -> None:
        for turn in itertools.count(number):
            if self._stop.is_set():
                return
            self.outcomes.append(await self._ask(client, turn))
            self._arrived.set()

    async def _ask(self, client: AsyncOpenAI, turn: int) -> Outcome:
        began_s = time.monotonic()
        streamed = self.streams_only or turn % 2 == 0
        try:
            model, whole = await (self._stream if streamed else self._plain)(
                client, self.prompts[turn % len(self.prompts)]
            )
        except openai.APIError as error:
            explicit = not isinstance(error, openai.APIConnectionError)
            return Outcome(began_s, time.monotonic(), streamed, error=_said(error), explicit=explicit)
        return Outcome(began_s, time.monotonic(), streamed, model, whole=whole)

    async def _plain(self, client: AsyncOpenAI, prompt: str) -> tuple[str, bool]:
        answer = await client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": prompt}], max_tokens=self.max_tokens, temperature=0
        )
        told = (answer.model_extra or {}).get("turnout", {})
        return str(told.get("model", "")), answer.choices[0].finish_reason in ("stop", "length")

    async def _stream(self, client: AsyncOpenAI, prompt: str) -> tuple[str, bool]:
        model, finished, ended = "", False, False
        async with client.chat.completions.with_streaming_response.create(
            model=self.model,
            messages=[{"role": "user", "content": prompt}],
            max_tokens=self.max_tokens,
            temperature=0,
            stream=True,
        ) as response:
            stream = await response.parse()
            # The client's own iteration swallows the end mark, so the events are read beneath it.
            async for event in stream._iter_events():  # noqa: SLF001 - there is no public way to see `[DONE]`
                if event.data.startswith("[DONE]"):
                    ended = True
                    continue
                chunk = event.json()
                if "error" in chunk:
                    raise openai.APIError(str(chunk["error"].get("message")), response.http_request, body=chunk)
                model = (chunk.get("turnout") or {}).get("model", model)
                finished = finished or any(choice.get("finish_reason") for choice in chunk["choices"])
        return model, finished and ended


def _said(error: openai.APIError) -> str:
    with contextlib.suppress(AttributeError):
        return f"{type(error).__name__}: {error.message}"
    return type(error).__name__
