"""`turnout eval routing` as it is called: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from evals.cli import app
from tests.evals.routing.support import STRONG, WEAK, frame, table

PNG = b"\x89PNG\r\n"


def _run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, ["routing", *map(str, args)])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    result = _run("--train", table(folder / "t.parquet"), "--out", folder / "out", "--budget", "0.5", "--seed", "2")
    assert result.exit_code == 0, result.output
    return folder / "out"


def test_report_json_keeps_its_contract(report: Path) -> None:
    found: dict[str, Any] = json.loads((report / "report.json").read_text())

    assert found["dataset"] == "t"
    assert found["n_prompts"] == 72
    expected = {"oracle", "random", "length", "cheapest", "strongest", WEAK, STRONG, "tfidf-ridge", "knn", "turnout"}
    assert set(found["policies"]) == expected
    ours = found["policies"]["turnout"]
    for name in ("apgr", "cpt50", "cpt80", "aiq", "max_quality", "decision_ms_p50", "gap_closed", "ece", "brier"):
        assert isinstance(ours[name], float), name
    assert ours["quality_at_usd_per_1k"]["0.5"] > 0
    assert ours["ci95"]["apgr"][0] <= ours["apgr"] <= ours["ci95"]["apgr"][1]
    assert ours["ci95"]["quality_at_usd_per_1k"]["0.5"][0] < ours["quality_at_usd_per_1k"]["0.5"]
    costs = [point[0] for point in ours["curve"]]
    assert costs == sorted(costs)


def test_the_page_needs_nothing_else(report: Path) -> None:
    page = (report / "report.html").read_text()

    assert 'src="data:image/png;base64,' in page
    assert "http://" not in page
    assert "https://" not in page
    assert "turnout" in page


def test_plots_are_png(report: Path) -> None:
    plots = sorted(path.name for path in report.glob("*.png"))

    assert plots == ["calibration.png", "cost_and_quality.png", "gap_closed.png"]
    assert all((report / name).read_bytes().startswith(PNG) for name in plots)


def test_a_run_can_be_repeated(report: Path, tmp_path: Path) -> None:
    again = tmp_path / "out"
    _run("--train", table(tmp_path / "t.parquet"), "--out", again, "--budget", "0.5", "--seed", "2")

    def figures(folder: Path) -> list[Any]:
        found = json.loads((folder / "report.json").read_text())["policies"]
        return [(name, policy["aiq"], policy["curve"], policy["ci95"]) for name, policy in found.items()]

    assert figures(again) == figures(report)


def test_what_is_tested_on_is_not_trained_on(tmp_path: Path) -> None:
    whole = table(tmp_path / "whole.parquet", 100)
    part = tmp_path / "part.parquet"
    pl.read_parquet(whole).head(80).write_parquet(part)  # 40 prompts of the same 100

    result = _run("--train", whole, "--test", part, "--out", tmp_path / "out")

    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "report.json").read_text())["n_train_prompts"] == 60


def test_bad_rows_end_the_run_unless_they_may_be_skipped(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    bad = pl.when(pl.int_range(pl.len()) == 4).then(7.0).otherwise(pl.col("quality"))
    frame(100).with_columns(quality=bad).write_parquet(path)

    refused = _run("--train", path, "--out", tmp_path / "out")
    allowed = _run("--train", path, "--out", tmp_path / "out", "--skip-bad-rows")

    assert refused.exit_code == 78
    assert f"{path}:5: quality is not within 0..1" in refused.output
    assert allowed.exit_code == 0
    assert f"{path}:5:" in allowed.output
    assert json.loads((tmp_path / "out" / "report.json").read_text())["skipped_rows"] == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--weak", WEAK], "--weak and --strong go together"),
        (["--weak", WEAK, "--strong", "nobody"], "no rows of model nobody"),
        (["--prices", "none.yaml"], "No such file"),
        (["--weak", WEAK, "--strong", WEAK], f"--weak and --strong are both {WEAK}"),
        (["--budget", "nan"], "a budget is a number"),
        (["--budget", "-1"], "a budget is a number"),
        (["--hold-out", "0.05"], "57 prompts to train on and 3 to test on are too few: 20 each are needed"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, args: list[str], says: str) -> None:
    result = _run("--train", table(tmp_path / "t.parquet", 60), "--out", tmp_path / "out", *args)

    assert result.exit_code == 78
    assert says in result.output


def test_prices_must_be_numbers(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("small: {input_usd_per_mtok: cheap, output_usd_per_mtok: 1}")

    result = _run("--train", table(tmp_path / "t.parquet", 60), "--out", tmp_path / "out", "--prices", prices)

    assert result.exit_code == 78
    assert "not a table of prices" in result.output


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ("smal: {input_usd_per_mtok: 1, output_usd_per_mtok: 1}", f"costs stay unknown: no price of {STRONG}, {WEAK}"),
        (f"{WEAK}: {{input_usd_per_mtok: .nan, output_usd_per_mtok: 1}}", "a price is negative or not finite"),
    ],
)
def test_prices_that_are_of_no_use_are_told(tmp_path: Path, prices: str, says: str) -> None:
    (file := tmp_path / "prices.yaml").write_text(prices)

    result = _run(
        "--train", table(tmp_path / "t.parquet", 80, priced=False), "--out", tmp_path / "out", "--prices", file
    )

    assert result.exit_code == 78
    assert says in result.output


def test_a_model_that_is_called_as_a_policy_is_refused(tmp_path: Path) -> None:
    renamed = frame(80).with_columns(pl.col("model").replace(STRONG, "oracle"))
    renamed.write_parquet(path := tmp_path / "t.parquet")

    result = _run("--train", path, "--out", tmp_path / "out")

    assert result.exit_code == 78
    assert "a model is called oracle, as a policy of the report is" in result.output


@pytest.mark.filterwarnings("error")
def test_odd_names_and_free_models_are_drawn(tmp_path: Path) -> None:
    odd = frame(80).with_columns(model=pl.col("model") + "$b_{$x^[/bold]", cost_usd=pl.lit(0.0))
    odd.write_parquet(path := tmp_path / "odd$_$.parquet")

    result = _run("--train", path, "--out", tmp_path / "out")

    assert result.exit_code == 0, result.output
    assert "large$b_{$x^[/bold]" in result.output


def test_without_prices_calls_are_counted_to_the_model_that_was_best_in_training(tmp_path: Path) -> None:
    two = frame(80, priced=False)
    third = two.filter(pl.col("model") == STRONG).with_columns(model=pl.lit("other"))
    whole = pl.concat([two, third])
    best = {"train": "other", "test": STRONG}
    for name, model in best.items():
        mine = whole.with_columns(
            prompt_id=name + pl.col("prompt_id"),
            prompt=name + pl.col("prompt"),
            quality=pl.when(pl.col("model") == model).then(1.0).otherwise(pl.col("quality") * 0.5),
        )
        mine.write_parquet(tmp_path / f"{name}.parquet")

    result = _run("--train", tmp_path / "train.parquet", "--test", tmp_path / "test.parquet", "--out", tmp_path / "out")

    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert result.exit_code == 0, result.output
    assert report["calls_counted"] == "other"
    assert [share for share, _ in report["policies"]["random"]["curve"]] == [0, 1]
    assert [share for share, _ in report["policies"]["strongest"]["curve"]] == [1]
