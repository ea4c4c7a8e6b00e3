"""The promises about the local engine, and the pure arithmetic behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evals.bench.llm_systems import LLAMA_CPP, LLAMA_CPP_PYTHON, RAW, TURNOUT
from evals.bench.samples import Sample, Spread, Target

STREAMS = (1, 4, 8, 16)
SECOND_TURN, LONG_PROMPT, ONE_WORD = "second turn", "long prompt", "one word"

LEAST_OF_RAW = 0.9
LEAST_OF_LLAMA_CPP = 1.0
MOST_FIRST_OF_LLAMA_CPP = 1.0
LEAST_OF_LLAMA_CPP_PYTHON = 2.0
MOST_SECOND_TURN = 0.2
MOST_STALL = 3.0
MOST_ONE_WORD_MS = 100.0
TARGETS = 3 * len(STREAMS) + 4


def load_name(streams: int) -> str:
    """How samples name a load of so many streams."""
    return f"s{streams}"


def ratios(samples: Sequence[Sample], load: str, metric: str, over: str) -> list[float]:
    """Turnout's figure in units of another system's, for each round that has both."""
    rounds: dict[int, dict[str, float]] = {}
    for sample in samples:
        if sample.load == load and metric in sample.values:
            rounds.setdefault(sample.round, {})[sample.system] = sample.values[metric]
    both = (one for _, one in sorted(rounds.items()) if TURNOUT in one and over in one)
    return [one[TURNOUT] / one[over] for one in both]


def targets(samples: Sequence[Sample]) -> list[Target]:
    """The promises that can be judged from these samples: a ratio is taken within a round, then the median of them."""
    found: list[Target] = []

    def judge(name: str, wanted: str, values: Sequence[float], met: Callable[[float], bool]) -> None:
        if values:
            spread = Spread.of(values)
            found.append(Target(name, wanted, spread, met(spread.median)))

    def least(name: str, limit: float, values: Sequence[float]) -> None:
        judge(name, f">= {limit:g}", values, lambda value: value >= limit)

    def most(name: str, limit: float, values: Sequence[float]) -> None:
        judge(name, f"<= {limit:g}", values, lambda value: value <= limit)

    for streams in STREAMS:
        load = load_name(streams)
        many = f"{streams} stream{'s' if streams > 1 else ''}"
        least(f"{many}: tokens/s in the raw loop's", LEAST_OF_RAW, ratios(samples, load, "tps", RAW))
        least(f"{many}: tokens/s in llama.cpp's server's", LEAST_OF_LLAMA_CPP, ratios(samples, load, "tps", LLAMA_CPP))
        first = ratios(samples, load, "ttft_p50_ms", LLAMA_CPP)
        most(f"{many}: TTFT p50 in llama.cpp's server's", MOST_FIRST_OF_LLAMA_CPP, first)
    python = ratios(samples, load_name(max(STREAMS)), "tps", LLAMA_CPP_PYTHON)
    least(f"{max(STREAMS)} streams: tokens/s in llama_cpp.server's", LEAST_OF_LLAMA_CPP_PYTHON, python)
    most("second turn on a shared prefix: TTFT in the first's", MOST_SECOND_TURN, _ours(samples, SECOND_TURN, "share"))
    most("beside a long prompt: p99 per token in its normal", MOST_STALL, _ours(samples, LONG_PROMPT, "factor"))
    word = _ours(samples, ONE_WORD, "p50_ms")
    judge(
        "one word, cached instruction: p50 ms", f"< {MOST_ONE_WORD_MS:g}", word, lambda value: value < MOST_ONE_WORD_MS
    )
    return found


def _ours(samples: Sequence[Sample], load: str, metric: str) -> list[float]:
    return [sample.values[metric] for sample in samples if (sample.system, sample.load) == (TURNOUT, load)]
