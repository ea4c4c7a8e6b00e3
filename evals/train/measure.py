"""Runs real models over the suite: `python -m evals.train.measure --model NAME=FILE.gguf --out FILE.jsonl`.

Each case is asked as a client would ask it: the model's own chat template, greedy. A case that has a passage is asked
twice, with it (in the router's own words) and without.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evals.train.batched import BatchedModel
from evals.train.suite import Case, build
from router.enrich import with_passages
from services.contracts.events import Passage
from services.contracts.messages import ChatRequest, Message

_ANSWER_CHARS = 400


def requests_of(case: Case) -> Iterator[tuple[bool, ChatRequest]]:
    """(grounded, request): the ways in which a case is asked."""
    turns = [Message("system", case.item.system)] if case.item.system else []
    plain = ChatRequest(messages=(*turns, Message("user", case.item.prompt)))
    yield False, plain
    if case.item.passage:
        passage = Passage(text=case.item.passage, source="handbook.md", score=1.0)
        yield True, with_passages(plain, [passage])


def main() -> None:
    """Measure one model; results already in the file are kept, so that an interrupted run goes on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="NAME=FILE.gguf")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-family", type=int, default=40)
    parser.add_argument("--families", nargs="*", help="these only")
    parser.add_argument("--system", default="", help="the `system` of the component: for cases that bring none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--streams", type=int, default=16)
    args = parser.parse_args()

    name, path = args.model.split("=", 1)
    done = {(row["id"], row["grounded"]) for row in _rows(args.out)}
    # Round by round over the families, so that a part of the run is already a fair sample.
    cases = sorted(build(args.seed, args.per_family), key=lambda case: case.id.rsplit("-", 1)[1])
    model = BatchedModel(Path(path), streams=args.streams, threads=args.threads)
    asked = (
        ((case, grounded), _turns(request, args.system), case.item.max_tokens)
        for case in cases
        if args.families is None or case.family in args.families
        for grounded, request in requests_of(case)
        if (case.id, grounded) not in done
    )
    with args.out.open("a", encoding="utf-8") as out:
        for (case, grounded), answer, tokens, odds in model.answers(asked):
            row = {
                "id": case.id,
                "family": case.family,
                "prompt": case.item.prompt,
                "system": case.item.system,
                "grounded": grounded,
                "model": name,
                "quality": float(case.item.check(answer)),
                "tokens": tokens,
                "answer": answer[:_ANSWER_CHARS],
                "odds": [[round(logprob, 3), round(ahead, 3)] for logprob, ahead in odds],
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()


def _turns(request: ChatRequest, system: str) -> list[dict[str, str]]:
    turns = [{"role": message.role, "content": message.text} for message in request.messages]
    if system and all(turn["role"] != "system" for turn in turns):
        turns.insert(0, {"role": "system", "content": system})
    return turns


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


if __name__ == "__main__":
    main()
