"""The engine's benchmark around its measuring: what it asks, what it takes for an answer, what it judges."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evals.bench import llm, llm_lookup, llm_report, machine
from evals.bench.children import BenchError
from evals.bench.llm_load import figures, load
from evals.bench.llm_prompts import report, review, story
from evals.bench.llm_samples import LONG_PROMPT, ONE_WORD, SECOND_TURN, STREAMS, TARGETS, load_name, ratios, targets
from evals.bench.llm_systems import LLAMA_CPP, LLAMA_CPP_PYTHON, RAW, TURNOUT, Setup, turnout_config
from evals.bench.report import Report
from evals.bench.samples import Sample
from evals.bench.sse_load import WrongAnswer
from services.contracts.catalog import Catalog, LlmLocal

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(**chunk: Any) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def delta(text: str | None, reason: str | None = None) -> bytes:
    return event(choices=[{"delta": {"content": text}, "finish_reason": reason}])


def framed(*pieces: bytes) -> bytes:
    return HEAD + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


DONE = b"data: [DONE]\n\n"
USAGE = event(choices=[], usage={"completion_tokens": 5})
WHOLE = framed(delta(None), delta("Good "), delta("day"), delta(None, "length"), USAGE, DONE)


@asynccontextmanager
async def answering(answer: bytes, step: int = 10_000) -> AsyncIterator[str]:
    """A server that answers every request with the same bytes, in pieces of so many."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            [length] = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-len")]
            await reader.readexactly(int(length))
            for at in range(0, len(answer), step):
                writer.write(answer[at : at + step])
                await writer.drain()
                await asyncio.sleep(0)

    def closed(call: Callable[..., Any]) -> Callable[..., Any]:
        async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await call(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        return quietly

    server = await asyncio.start_server(closed(serve), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize("step", [10_000, 7, 1])
async def test_a_stream_cut_anywhere_is_timed_and_counted(step: int) -> None:
    async with answering(WHOLE, step) as url:
        answers = await load(url, [{"n": number} for number in range(5)], 2, "key")
    assert [answer.text for answer in answers] == ["Good day"] * 5
    assert [answer.tokens for answer in answers] == [5] * 5  # the server's count, not that of the pieces
    found = figures(answers)
    assert (found["tokens"], found["answers"]) == (25, 5)
    assert 0 < found["ttft_p50_ms"] <= found["ttft_p95_ms"]
    assert found["tpot_p99_ms"] >= found["tpot_p50_ms"] > 0


async def test_without_a_count_the_pieces_are_the_tokens() -> None:
    async with answering(framed(delta("a"), delta("b"), delta("c", "stop"), DONE)) as url:
        [answer] = await load(url, [{}], 1, "")
    assert answer.tokens == 3


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (framed(delta("a"), delta(None, "stop")), "no clean end"),
        (framed(delta("a"), DONE), "no clean end"),
        (framed(delta(None, "stop"), DONE), "no clean end"),
        (framed(delta("a"), event(error={"message": "broken"}), DONE), "broken"),
        (framed(b"data: {\n\n"), "not a chunk"),
        (b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\n\r\nbusy", "status 429"),
        (b"nonsense\r\n\r\n", "not HTTP"),
    ],
)
async def test_anything_but_a_complete_stream_ends_the_run(answer: bytes, why: str) -> None:
    async with answering(answer) as url:
        with pytest.raises(WrongAnswer, match=why):
            await load(url, [{}], 1, "")


def test_no_two_prompts_are_the_same() -> None:
    assert len({story(number) for number in range(2000)}) == 2000
    assert len({review(number) for number in range(500)}) == 500
    assert report("1", 40)[:9] != report("2", 40)[:9]


def test_the_configuration_it_writes_is_one_that_turnout_takes(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"x")
    catalog = Catalog.model_validate(turnout_config(Setup(tmp_path / "m.gguf", 2, 16, 2048)))
    [spec] = catalog.components.values()
    assert isinstance(spec, LlmLocal)
    assert (spec.slots, spec.threads, spec.context_tokens) == (16, 2, 2048)


def speeds(number: int, **tps: float) -> list[Sample]:
    names = {"ours": TURNOUT, "raw": RAW, "cpp": LLAMA_CPP, "python": LLAMA_CPP_PYTHON}
    return [
        Sample(number, names[name], load_name(streams), {"tps": value, "ttft_p50_ms": 1000 / value})
        for name, value in tps.items()
        for streams in STREAMS
    ]


def scenes(number: int, share: float, factor: float, word_ms: float) -> list[Sample]:
    values = {SECOND_TURN: {"share": share}, LONG_PROMPT: {"factor": factor}, ONE_WORD: {"p50_ms": word_ms}}
    return [Sample(number, TURNOUT, name, found) for name, found in values.items()]


def test_every_promise_is_judged_by_the_median_of_its_rounds() -> None:
    good = speeds(1, ours=95, raw=100, cpp=90, python=40) + scenes(1, 0.1, 2.0, 60)
    bad = speeds(2, ours=50, raw=100, cpp=90, python=40) + scenes(2, 0.5, 4.0, 160)
    again = [Sample(3, sample.system, sample.load, sample.values) for sample in good]
    found = targets(good + bad + again)
    assert len(found) == TARGETS
    assert all(target.met for target in found)
    assert not any(target.met for target in targets(bad))


def test_a_ratio_needs_both_systems_in_the_same_round() -> None:
    samples = speeds(1, ours=90) + speeds(2, raw=100) + speeds(3, ours=80, raw=100)
    assert ratios(samples, "s4", "tps", RAW) == [0.8]


def test_the_table_shows_systems_scenes_and_missed_targets() -> None:
    samples = speeds(1, ours=50, raw=100, cpp=90, python=40) + scenes(1, 0.1, 2.0, 60)
    out = StringIO()
    facts = Report(machine.facts(), {"model": "m.gguf", "tokens": 128}, samples, targets(samples), None)
    llm_report.show(facts, Console(file=out, width=160))
    for expected in (RAW, LLAMA_CPP, LLAMA_CPP_PYTHON, "16 streams", "cached instruction", "met", "missed"):
        assert expected in out.getvalue()


def test_rounds_are_added_to_those_of_the_same_settings_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "RESULT", tmp_path / "llm.json")
    assert llm._before({"tokens": 128}) == []
    samples = speeds(1, ours=90)
    (tmp_path / "llm.json").write_text(
        json.dumps({"settings": {"tokens": 128}, "samples": [asdict(sample) for sample in samples]})
    )
    assert llm._before({"tokens": 128}) == samples
    with pytest.raises(BenchError, match="tokens"):
        llm._before({"tokens": 64})


@pytest.mark.parametrize(
    "arguments", [["--systems", "vllm"], ["--streams", "3"], ["--rounds", "0"], ["--model", "/no"]]
)
def test_a_command_line_that_asks_for_the_unknown_fails(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert llm.main(arguments) == 2
    assert capsys.readouterr().out.strip()


def test_the_raw_loop_writes_what_it_is_asked_for() -> None:
    command = (
        *(sys.executable, "-m", "evals.bench.llm_raw", "--model", str(llm.default_model())),
        *("--streams", "2", "--tokens", "12", "--threads", "1"),
    )
    done = subprocess.run(command, input=json.dumps(["Hi", story(1), "Hi"]), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["answers"], found["tokens"]) == (3, 36)
    assert found["lengths"] == [9, 12, 9]  # "Hello! How can I assist you today?" has nine tokens


def test_a_lookup_guesses_what_followed_the_longest_known_tail() -> None:
    assert llm_lookup.guess([1, 2, 3, 9, 2, 3, 8, 1, 2, 3], 2) == [9, 2]  # three tokens match there, two elsewhere
    assert llm_lookup.guess([5, 3, 7, 4, 3], 1) == [7]
    assert llm_lookup.guess([1, 2, 3], 4) == []


def test_steps_of_a_lookup_write_the_whole_answer() -> None:
    again = [1, 2, 3, 4, 5, 6]
    assert llm_lookup.steps(again, again, 4) == [5]  # 1 is there; 2 to 5 are guessed, and 6 comes with them
    assert llm_lookup.steps([1, 2], [7, 8, 9], 4) == [1, 1]
