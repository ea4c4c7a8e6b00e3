"""What a stream of equal requests does not show: a second turn, a long prompt beside others, a one-word answer.

python -m evals.bench.llm_scenarios --url http://127.0.0.1:8080 --model local --salt 7
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from typing import Any

import uvloop

from evals.bench.llm_load import KEY_VARIABLE, Answer, ask
from evals.bench.llm_prompts import INSTRUCTION, report, review, story
from evals.bench.llm_samples import LONG_PROMPT, ONE_WORD, SECOND_TURN
from evals.bench.samples import quantile
from evals.bench.sse_load import WrongAnswer

_TURN_SENTENCES = 42  # about 1,000 tokens
_LONG_SENTENCES = 63  # about 1,500
_TURNS = 3
_BESIDE = 4
_SETTLED_TOKENS = 48
_WORDS = 21
_EXIT_WRONG = 3


def _body(model: str, messages: list[tuple[str, str]], max_tokens: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": role, "content": content} for role, content in messages],
        "max_tokens": max_tokens,
        "temperature": 0,
    }


async def second_turn(url: str, model: str, key: str, salt: int) -> dict[str, float]:
    """A long document and a question; then a second question about it. TTFT of both, median of three documents."""
    first_ms, second_ms = [], []
    for number in range(_TURNS):
        text = report(f"{salt}-{number}", _TURN_SENTENCES)
        turns = [("user", f"{text} Which part is the most urgent?")]
        first = await ask(url, key, _body(model, turns, 24))
        turns += [("assistant", first.text), ("user", "And which one comes after that?")]
        second = await ask(url, key, _body(model, turns, 24))
        first_ms.append(first.first_s * 1000)
        second_ms.append(second.first_s * 1000)
    first_p50, second_p50 = quantile(first_ms, 0.5), quantile(second_ms, 0.5)
    return {"first_ms": first_p50, "second_ms": second_p50, "share": second_p50 / first_p50}


async def long_prompt(url: str, model: str, key: str, salt: int) -> dict[str, float]:
    """Some streams write; then a long prompt comes. The time between their tokens, before it and until its first one.

    Normal is the p99 of the same streams before.
    """
    settled = asyncio.Event()
    writing: dict[int, Answer] = {}

    def heard(number: int, answer: Answer) -> None:
        writing[number] = answer
        if len(writing) == _BESIDE and min(len(one.arrivals_s) for one in writing.values()) >= 2 * _SETTLED_TOKENS:
            settled.set()

    async def write(number: int) -> Answer:
        prompt = f"{story(salt * 7 + number)} Number {salt}-{number}."
        body = _body(model, [("user", prompt)], 600)
        return await ask(url, key, body, lambda answer: heard(number, answer))

    jobs = [asyncio.create_task(write(number)) for number in range(_BESIDE)]
    try:
        waiting = asyncio.create_task(settled.wait())
        await asyncio.wait([waiting, *jobs], return_when=asyncio.FIRST_COMPLETED)
        if not settled.is_set():
            waiting.cancel()
            raise WrongAnswer("an answer ended before the long prompt came")
        sent_s = time.perf_counter()
        text = report(f"{salt}-late", _LONG_SENTENCES)
        body = _body(model, [("user", f"{text} Summarise it.")], 4)
        answer = await ask(url, key, body)
        first_s = answer.arrivals_s[0]
        begun_s = max(one.arrivals_s[_SETTLED_TOKENS] for one in writing.values())
        normal = _gaps(writing, begun_s, sent_s)
        beside = _gaps(writing, sent_s, first_s)
    finally:
        for job in jobs:  # who leaves frees the engine
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
    normal_p99, beside_p99 = quantile(normal, 0.99) * 1000, quantile(beside, 0.99) * 1000
    return {
        "normal_p50_ms": quantile(normal, 0.5) * 1000,
        "normal_p99_ms": normal_p99,
        "beside_p50_ms": quantile(beside, 0.5) * 1000,
        "beside_p99_ms": beside_p99,
        "long_ttft_ms": answer.first_s * 1000,
        "factor": beside_p99 / normal_p99,
    }


def _gaps(answers: dict[int, Answer], after_s: float, until_s: float) -> list[float]:
    """The gaps that began within a span of time."""
    return [
        later - earlier
        for answer in answers.values()
        for earlier, later in zip(answer.arrivals_s, answer.arrivals_s[1:], strict=False)
        if after_s <= earlier < until_s
    ]


async def one_word(url: str, model: str, key: str, salt: int) -> dict[str, float]:
    """Reviews to classify, one after the other, behind the same long instruction. Time to the end of the answer."""
    took_ms = []
    for number in range(_WORDS):
        turns = [("system", INSTRUCTION), ("user", review(salt * _WORDS + number))]
        answer = await ask(url, key, _body(model, turns, 2))
        took_ms.append((answer.ended_s - answer.began_s) * 1000)
    cached = took_ms[1:]  # the first one reads the instruction
    return {"first_ms": took_ms[0], "p50_ms": quantile(cached, 0.5), "p95_ms": quantile(cached, 0.95)}


async def _all(url: str, model: str, key: str, salt: int) -> dict[str, dict[str, float]]:
    return {
        SECOND_TURN: await second_turn(url, model, key, salt),
        LONG_PROMPT: await long_prompt(url, model, key, salt),
        ONE_WORD: await one_word(url, model, key, salt),
    }


def main() -> None:
    """Read the command line, measure, print one line of JSON. The API key is in TURNOUT_BENCH_KEY."""
    parser = argparse.ArgumentParser(prog="llm_scenarios", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--salt", type=int, required=True, help="another number, other texts")
    given = parser.parse_args()
    try:
        found = uvloop.run(_all(given.url, given.model, os.environ.get(KEY_VARIABLE, ""), given.salt))
    except (WrongAnswer, OSError, TimeoutError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(_EXIT_WRONG)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
