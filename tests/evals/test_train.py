"""Training: what it learns is what the router then reads, and strange wording is told from familiar."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from evals.train.agent import answers
from evals.train.cli import train as train_command
from evals.train.collect import collect
from evals.train.dataset import MEASURED
from evals.train.families import reasoning
from evals.train.fit import Settings, calibrate
from evals.train.rows import Label, Row, prompt_features
from evals.train.suite import FAMILIES, build
from evals.train.sums import questions
from evals.train.train import kind_of, train
from evals.train.verifier import main as fit_verifier
from evals.train.weights import write
from router.predictor import Predictor, calibrated
from router.verify import score


def seeded(seed: int) -> Random:
    """The suite draws from a generator that can be seeded."""
    return Random(seed)  # noqa: S311 - reproducible, not secret


def _rows() -> list[Row]:
    """Greetings, which the tiny model can answer, and word problems, which it cannot."""
    rng = seeded(5)
    rows = []
    for i in range(240):
        easy = i % 2 == 0
        prompt = f"Say hello to my friend {rng.randint(1, 999)}" if easy else reasoning.story_many(rng).prompt
        labels = {"tiny": Label(float(easy)), "tool_agent": Label(0.0), "large": Label(0.9)}
        kind = "greet" if easy else "story-many-steps"
        rows.append(
            Row(prompt_features(prompt), "suite", f"suite:{kind}", labels, frozenset(labels), 10.0 + 200 * (1 - easy))
        )
    return rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path: Path = tmp_path_factory.mktemp("weights") / "small.npz"
    write(path, train(_rows(), Settings(buckets=1 << 10), 1), trained="2026-11")
    return Predictor.load(path)


def test_what_was_trained_is_what_the_router_reads(trained: Predictor) -> None:
    easy = trained.predict(prompt_features("Say hello to my friend 12"))["tiny"]
    hard = trained.predict(prompt_features(reasoning.story_many(seeded(9)).prompt))["tiny"]
    assert easy.quality > 0.7
    assert hard.quality < 0.3
    assert trained.expected_output_tokens(prompt_features("Say hello to my friend 12")) == pytest.approx(10, rel=0.5)


def test_strange_wording_is_trusted_less(trained: Predictor) -> None:
    known = trained.predict(prompt_features("Say hello to my friend 12"))["tiny"]
    strange = trained.predict(prompt_features("Quelle heure est-il maintenant en Australie ?"))["tiny"]
    assert strange.quality < known.quality


def test_calibration_finds_the_curve_that_made_the_labels() -> None:
    rng = np.random.default_rng(3)
    scores, strange = rng.uniform(-1, 2, 4000), rng.uniform(0, 1, 4000)
    truth = np.array([3.0, -1.0, 0.5, -0.5])
    y, _ = calibrated(scores, strange, np.append(truth, (0.1, 0.1)))
    np.testing.assert_allclose(calibrate(scores, strange, y, np.ones(4000)), truth, atol=0.2)


def test_the_suite_is_the_same_for_the_same_seed() -> None:
    first, again, other = build(1, 3), build(1, 3), build(2, 3)
    assert [case.item.prompt for case in first] == [case.item.prompt for case in again]
    assert [case.item.prompt for case in first] != [case.item.prompt for case in other]
    assert {case.family for case in first} == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_check_takes_an_empty_answer_for_a_good_one(family: str) -> None:
    for seed in range(3):
        assert not FAMILIES[family](seeded(seed)).check("")


def test_measurements_are_joined_by_prompt() -> None:
    row = {"family": "greet", "prompt": "Hi!", "system": "", "grounded": False, "tokens": 7}
    known = [{"family": "greet", "prompt": "Hi!", "quality": {"tiny": {"a": 0.0}}}]
    tiny = [{**row, "model": "a", "quality": 1.0}]
    small = [{**row, "model": "b", "quality": 0.0}, {**row, "model": "b", "quality": 1.0, "grounded": True}]
    assert collect(known, {"tiny": tiny, "small": small}) == [
        {
            "family": "greet",
            "prompt": "Hi!",
            "quality": {"tiny": {"a": 1.0}, "small": {"b": 0.0}, "grounded_small": {"b": 1.0}},
            "tokens": 7,
        }
    ]


def test_one_benchmark_is_one_kind_from_whatever_table() -> None:
    assert kind_of("llmrouter-train:gsm8k") == kind_of("routellm-gsm8k:gsm8k")
    assert kind_of("suite:sentiment-three") == kind_of("suite:sentiment")
    assert kind_of("routellm-mmlu:anatomy") != kind_of("routellm-mmlu:virology")


def test_the_tool_agent_is_asked_whether_it_answers() -> None:
    assert answers(["What is 15% of 80?", "Why is the sky blue?", "What is the date today?"]) == [True, False, True]
    assert {kind for kind, _ in questions(seeded(1), 60)} == {"signs", "words", "percentage", "date", "near"}


def _table(path: Path, n: int) -> Path:
    """Outcomes of a model that is good at questions of one kind only, which no prior can know."""
    rng = seeded(3)
    lines = []
    for i in range(n):
        good = i % 2 == 0
        prompt = f"{'Zorble' if good else 'Frimble'} the {rng.randint(1, 9999)} {'glorps' if good else 'plinks'}"
        row = {"source": "mine", "prompt_id": str(i), "prompt": prompt, "task": "t", "model": "my-7b"}
        lines.append(json.dumps({**row, "quality": float(good), "output_tokens": 20 + 200 * (i % 2)}))
    path.write_text("\n".join(lines))
    return path


def _train(*args: str | Path) -> Result:
    app = typer.Typer()
    app.command()(train_command)
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_the_command_learns_where_there_are_outcomes_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    out = tmp_path / "mine.npz"
    done = _train(_table(tmp_path / "t.jsonl", 300), "--tier", "my-7b=medium", "--out", out)
    assert done.exit_code == 0, done.output
    assert "medium" in done.output
    mine, shipped = Predictor.load(out), Predictor.load(None)
    assert mine.version in done.output
    assert mine.meta.sources[-1] == "300 prompts of t.jsonl"
    good, bad = prompt_features("Zorble the 123 glorps"), prompt_features("Frimble the 123 plinks")
    assert mine.predict(good)["medium"].quality > 0.8
    assert mine.predict(bad)["medium"].quality < 0.2
    assert mine.expected_output_tokens(bad) > 2 * mine.expected_output_tokens(good)
    for profile in ("tiny", "large", "tool_agent"):
        assert mine.predict(good)[profile].quality == pytest.approx(shipped.predict(good)[profile].quality, abs=1e-3)


@pytest.mark.parametrize(
    ("n", "tier", "says"),
    [
        (300, "my-7b=huge", "say MODEL="),
        (300, "other=medium", "my-7b"),
        (20, "my-7b=medium", "nothing can be learnt"),
    ],
)
def test_the_command_says_why_nothing_is_learnt(tmp_path: Path, n: int, tier: str, says: str) -> None:
    done = _train(_table(tmp_path / "t.jsonl", n), "--tier", tier, "--out", tmp_path / "mine.npz")
    assert done.exit_code == 78
    assert says in done.output
    assert not (tmp_path / "mine.npz").exists()


def test_a_verifier_learns_what_certainty_is_worth_and_goes_into_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = seeded(7)
    with MEASURED.open(encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines][::4]
    measured = tmp_path / "measured.jsonl"
    with measured.open("w", encoding="utf-8") as out:
        for case in cases:
            good = float(rng.random() < 0.4)
            odds = [[rng.gauss(-0.2 if good else -1.5, 0.5), rng.gauss(4 if good else 1, 1)] for _ in range(12)]
            row = {"prompt": case["prompt"], "system": case.get("system", ""), "family": case["family"]}
            out.write(json.dumps({**row, "grounded": False, "quality": good, "odds": odds}) + "\n")
    fit_verifier([str(measured), "--tier", "tiny", "--into", str(tmp_path / "p.npz")])
    assert "floor 0.6" in capsys.readouterr().out
    found, shipped = Predictor.load(tmp_path / "p.npz"), Predictor.load(None)
    assert found.verifiers["tiny"].power > 2
    assert score(0.5, 3.0, found.verifiers["tiny"]) > 0.8
    assert score(0.5, 0.0, found.verifiers["tiny"]) < 0.2
    features = prompt_features("Say hello")
    assert found.predict(features) == shipped.predict(features)
