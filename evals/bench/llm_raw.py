"""The measure of all: `llama_decode` and the largest logit in a loop, and nothing else. No text, no stream, no network.

Reads a JSON list of prompts from its standard input and prints one line of JSON. Sequences start and end together, so
nobody ever waits for anybody: what a server adds to this is its own.

    python -m evals.bench.llm_raw --model PATH --streams 16 --tokens 128 < prompts.json
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before ours: llama.cpp's threads then wait as llama.cpp's own programs do, not as our engine asks them to.
import llama_cpp as llama
import numpy as np

from evals.bench.samples import quantile
from services.contracts.messages import Message
from services.llm_local.native import Model
from services.llm_local.prepare import Preparer
from services.llm_local.template import ChatTemplate

CONTEXT_TOKENS = 1024
_BATCH_TOKENS = 512


class Loop:
    """A context with so many sequences, and one batch that is filled again and again."""

    def __init__(self, model: Model, streams: int, threads: int) -> None:
        self._model = model
        self._context = model.new_context(
            sequences=streams,
            context_tokens=CONTEXT_TOKENS,
            batch_tokens=_BATCH_TOKENS,
            threads=threads,
            embeddings=False,
        )
        self._batch = llama.llama_batch_init(_BATCH_TOKENS, 0, 1)

    def run(self, prompts: Sequence[Sequence[int]], tokens: int) -> tuple[list[list[int]], list[float], list[float]]:
        """Write `tokens` tokens after every prompt.

        Returns:
            The tokens of each, the seconds until the first one of each, and the seconds of every later step.
        """
        self._context.clear()
        began_s = time.perf_counter()
        answers, first_s = self._read(prompts, began_s)
        steps_s = []
        last_s = time.perf_counter()
        for step in range(tokens - 1):
            batch = self._batch
            for owner, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
                self._put(owner, answer[-1], len(prompt) + step, owner, wanted=True)
            batch.n_tokens = len(prompts)
            for answer, token in zip(answers, self._decode(len(prompts)), strict=True):
                answer.append(token)
            now_s = time.perf_counter()
            steps_s.append(now_s - last_s)
            last_s = now_s
        return answers, first_s, steps_s

    def _read(self, prompts: Sequence[Sequence[int]], began_s: float) -> tuple[list[list[int]], list[float]]:
        """All prompts in full batches; the first token of each."""
        firsts: list[list[int]] = []
        first_s: list[float] = []
        places = [(token, at, owner) for owner, prompt in enumerate(prompts) for at, token in enumerate(prompt)]
        for start in range(0, len(places), _BATCH_TOKENS):
            part = places[start : start + _BATCH_TOKENS]
            wanted = 0
            for row, (token, at, owner) in enumerate(part):
                last = at == len(prompts[owner]) - 1
                wanted += last
                self._put(row, token, at, owner, wanted=last)
            self._batch.n_tokens = len(part)
            firsts += [[token] for token in self._decode(wanted)]
            first_s += [time.perf_counter() - began_s] * wanted
        return firsts, first_s

    def _put(self, row: int, token: int, position: int, owner: int, *, wanted: bool) -> None:
        batch = self._batch
        batch.token[row], batch.pos[row], batch.n_seq_id[row] = token, position, 1
        batch.seq_id[row][0], batch.logits[row] = owner, wanted

    def _decode(self, rows: int) -> list[int]:
        if llama.llama_decode(self._context.handle, self._batch) != 0:
            raise SystemExit("llama_decode failed")
        if rows == 0:
            return []
        logits = np.ctypeslib.as_array(
            ctypes.cast(llama.llama_get_logits(self._context.handle), ctypes.POINTER(ctypes.c_float)),
            (rows, self._model.vocab_size),
        )
        best: list[int] = logits.argmax(axis=1).tolist()
        return best

    def close(self) -> None:
        """Free the memory."""
        llama.llama_batch_free(self._batch)
        self._context.close()


def measure(model: Model, prompts: Sequence[Sequence[int]], streams: int, tokens: int, threads: int) -> dict[str, Any]:
    """The figures of a system, and how many tokens each answer has before the model would have ended it."""
    loop = Loop(model, streams, threads)
    try:
        loop.run([prompts[0][:8]], 4)
        answers: list[list[int]] = []
        first_s: list[float] = []
        steps_s: list[float] = []
        began_s, cpu_s = time.perf_counter(), time.process_time()
        for at in range(0, len(prompts), streams):
            written, waited_s, later_s = loop.run(prompts[at : at + streams], tokens)
            answers += written
            first_s += waited_s
            steps_s += later_s
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    finally:
        loop.close()
    return {
        "tokens": sum(map(len, answers)),
        "answers": len(answers),
        "tps": sum(map(len, answers)) / took_s,
        "ttft_p50_ms": quantile(first_s, 0.5) * 1000,
        "ttft_p95_ms": quantile(first_s, 0.95) * 1000,
        "tpot_p50_ms": quantile(steps_s, 0.5) * 1000,
        "tpot_p99_ms": quantile(steps_s, 0.99) * 1000,
        "cpu_ms": cpu_s / sum(map(len, answers)) * 1000,
        "lengths": [next((n for n, token in enumerate(one) if token in model.ends), len(one)) for one in answers],
    }


def main() -> None:
    """Read the command line and the prompts, measure, print."""
    parser = argparse.ArgumentParser(prog="llm_raw", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    model = Model(given.model)
    template = ChatTemplate(
        model.template,
        bos=model.spellings[model.bos].decode("utf-8", "replace") if model.bos >= 0 else "",
        eos=model.spellings[model.eos].decode("utf-8", "replace") if model.eos >= 0 else "",
    )
    preparer = Preparer(model, template, CONTEXT_TOKENS)
    prompts = [preparer.prompt([Message("user", text)], None) for text in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(measure(model, prompts, given.streams, given.tokens, given.threads)) + "\n")


if __name__ == "__main__":
    main()
