"""Would prompt-lookup decoding be faster? Measured without building it into the engine.

Greedy answers do not change by speculation, only the number of steps does. So: write real answers once, plainly; see
how many tokens a lookup of the last words in what came before would have guessed right; measure what a step costs that
checks so many guesses; and put both together.

    python -m evals.bench.llm_lookup [--model GGUF] [--drafts 1,2,3,4,7]

Source: https://github.com/apoorvumang/prompt-lookup-decoding
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Before ours, as in llm_raw.
import llama_cpp  # noqa: F401
import numpy as np

from evals.bench.llm import default_model
from evals.bench.llm_prompts import report, story
from services.contracts.messages import Message
from services.llm_local.native import Context, Model
from services.llm_local.prepare import Preparer
from services.llm_local.scheduler import MAX_CHUNK_TOKENS
from services.llm_local.template import ChatTemplate

_CONTEXT_TOKENS = 1024
_TOKENS = 128
_REPEATS = 12
_LONGEST_MATCH = 3
_TEXT = (
    "Prompts are read in chunks of at most 63 tokens: then it makes no difference how a prompt was cut, what was "
    "cached, or whether a token was read or written. What remains: an answer alone in the engine with 512 or more "
    "tokens of context may differ in its last bits from the same answer in company."
)
_CODE = (
    "def total(orders):\n    amount = 0\n    for order in orders:\n        if order.paid:\n"
    "            amount = amount + order.price * order.count\n    return amount\n"
)
TASKS = {
    "write a story": [story(number) for number in range(6)],
    "repeat a text": [f"Repeat the following text word for word:\n{_TEXT}", f"Copy this text:\n{_TEXT}"],
    "correct a text": [f"Correct the spelling of this text:\n{_TEXT.replace('tokens', 'tokans')}"],
    "summarise a report": [f"{report(str(number), 12)} Summarise this report." for number in range(4)],
    "change code": [f"Rename the variable amount to sum in this code:\n```python\n{_CODE}```"],
}


def guess(known: Sequence[int], most: int) -> list[int]:
    """What followed the last time that the newest tokens were seen; the longest match counts. Pure."""
    for length in range(_LONGEST_MATCH, 0, -1):
        tail = list(known[-length:])
        for at in range(len(known) - length - 1, -1, -1):
            if list(known[at : at + length]) == tail:
                return list(known[at + length : at + length + most])
    return []


def steps(prompt: Sequence[int], answer: Sequence[int], most: int) -> list[int]:
    """How many rows each step would compute to write the answer: one, and one for every guess. Pure."""
    rows: list[int] = []
    done = 1  # the first token comes from the prompt's own step
    while done < len(answer):
        guesses = guess([*prompt, *answer[:done]], most)
        right = 0
        while right < len(guesses) and done + right < len(answer) and guesses[right] == answer[done + right]:
            right += 1
        rows.append(1 + len(guesses))
        done += right + 1
    return rows


def write(context: Context, prompt: Sequence[int], tokens: int, ends: frozenset[int]) -> list[int]:
    """The greedy answer."""
    context.forget(0, 0)
    head, last = list(prompt[:-1]), prompt[-1]
    for at in range(0, len(head), MAX_CHUNK_TOKENS):
        context.prefill(head[at : at + MAX_CHUNK_TOKENS], at, 0, last=False)
    answer = [int(context.decode_step([last], [len(head)], [0])[0].argmax())]
    while len(answer) < tokens and answer[-1] not in ends:
        logits = context.decode_step([answer[-1]], [len(prompt) + len(answer) - 1], [0])
        answer.append(int(logits[0].argmax()))
    return answer


def cost_s(context: Context, prompt: Sequence[int], rows: int) -> float:
    """The time of a step with so many rows of one sequence, all of whose logits are looked at."""
    times: list[float] = []
    for _ in range(_REPEATS):
        context.forget(0, len(prompt))
        began_s = time.perf_counter()
        logits = context.decode_step(prompt[:rows], list(range(len(prompt), len(prompt) + rows)), [0] * rows)
        np.argmax(logits, axis=1)
        times.append(time.perf_counter() - began_s)
    return statistics.median(times)


def main() -> None:
    """Measure, and print the speed of each task with each number of guesses, in that of plain steps."""
    parser = argparse.ArgumentParser(prog="llm_lookup", description=__doc__)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--drafts", default="1,2,3,4,7")
    given = parser.parse_args()
    model = Model(given.model or default_model())
    context = model.new_context(
        sequences=1, context_tokens=_CONTEXT_TOKENS, batch_tokens=128, threads=given.threads, embeddings=False
    )
    preparer = Preparer(model, ChatTemplate(model.template, bos="", eos=""), _CONTEXT_TOKENS)
    drafts = [int(number) for number in given.drafts.split(",")]
    found: dict[str, dict[str, float]] = {}
    answers: dict[str, list[tuple[list[int], list[int]]]] = {}
    for name, texts in TASKS.items():
        prompts = [preparer.prompt([Message("user", text)], None) for text in texts]
        answers[name] = [(prompt, write(context, prompt, _TOKENS, model.ends)) for prompt in prompts]
    prompt = answers["summarise a report"][0][0][:200]
    write(context, prompt, 1, model.ends)
    costs_s = {rows: cost_s(context, prompt, rows) for rows in range(1, max(drafts) + 2)}
    for name, pairs in answers.items():
        plain_s = sum(len(answer) - 1 for _, answer in pairs) * costs_s[1]
        found[name] = {"tokens": sum(len(answer) for _, answer in pairs)}
        for most in drafts:
            rows = [count for prompt, answer in pairs for count in steps(prompt, answer, most)]
            written = sum(len(answer) - 1 for _, answer in pairs)
            found[name][f"{most}: tokens a step"] = round(written / len(rows), 2)
            found[name][f"{most}: speed"] = round(plain_s / sum(costs_s[count] for count in rows), 2)
    costs_ms = {rows: round(seconds * 1000, 2) for rows, seconds in costs_s.items()}
    sys.stdout.write(json.dumps({"step_ms": costs_ms, "tasks": found}, indent=1) + "\n")
    context.close()
    model.close()


if __name__ == "__main__":
    main()
