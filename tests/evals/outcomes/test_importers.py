"""Every importer makes rows of the one schema, and says which rows of the original it could not use."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.outcomes.importers import import_files
from evals.outcomes.read import read_table, write_table
from services.contracts.errors import ConfigError

DATA = Path(__file__).parent / "data"


def test_routellm_csv(tmp_path: Path) -> None:
    path = tmp_path / "responses" / "mmlu_anatomy.csv"
    path.parent.mkdir()
    path.write_text('prompt,weak,strong\n"Which\nbone?",True,False\nSeen,True,True\nBroken,maybe,True\n')
    (tmp_path / "contaminated_prompts.jsonl").write_text(json.dumps({"eval_prompt": "Seen"}) + "\n")

    table = import_files("routellm", [path])

    assert table.frame.select("source", "task", "prompt", "model", "quality").rows() == [
        ("routellm-mmlu", "anatomy", "Which\nbone?", "weak", 1.0),
        ("routellm-mmlu", "anatomy", "Which\nbone?", "strong", 0.0),
        ("routellm-mmlu", "anatomy", "Broken", "strong", 1.0),
    ]
    assert [str(bad) for bad in table.bad] == [f"{path}:5: weak: 'maybe' is neither True, False nor a number"]


def test_routellms_answers_beside_its_verdicts_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k_responses.csv"
    said = '" 2 + 2 = 4, and\n""twice"" that is 8.\n#### 8\n\n","It is 9."'
    path.write_text(
        "prompt,cheap-v0.1,dear-1106,cheap-v0.1_response,dear-1106_response\n"
        f"Ann\u2019s 2 + 2?  Twice?,True,False,{said}\n"
        f'"A seen one, with ""quotes""?",True,True,{said}\n'
        f"Bob\u2019s?,False,True,{said}\n",
        encoding="utf-8",
    )
    seen = {"train_prompt": "a seen one", "eval_prompt": 'A seen one, with "quotes"?', "train_idx": 7, "eval_idx": 1}
    (tmp_path / "contaminated_prompts.jsonl").write_text(json.dumps(seen) + "\n")

    table = import_files("routellm", [path])

    assert table.bad == ()
    assert table.frame.select("source", "prompt_id", "prompt", "task", "model", "quality").rows() == [
        ("routellm-gsm8k", "gsm8k_responses.csv#0", "Ann\u2019s 2 + 2?  Twice?", "gsm8k", "cheap-v0.1", 1.0),
        ("routellm-gsm8k", "gsm8k_responses.csv#0", "Ann\u2019s 2 + 2?  Twice?", "gsm8k", "dear-1106", 0.0),
        ("routellm-gsm8k", "gsm8k_responses.csv#2", "Bob\u2019s?", "gsm8k", "cheap-v0.1", 0.0),
        ("routellm-gsm8k", "gsm8k_responses.csv#2", "Bob\u2019s?", "gsm8k", "dear-1106", 1.0),
    ]


def test_a_question_that_routellm_has_twice_is_two_prompts_of_one_text(tmp_path: Path) -> None:
    rows = "prompt,weak,strong\nWhich?,True,True\nWhich?,False,True\n"
    paths = [tmp_path / "mmlu_physics.csv", tmp_path / "mmlu_optics.csv"]
    for path in paths:
        path.write_text(rows)

    table = import_files("routellm", paths)
    write_table(table, tmp_path / "out.parquet")
    again = read_table(tmp_path / "out.parquet")

    assert table.bad == again.bad == ()
    assert again.frame.height == 8
    assert again.frame["prompt_id"].n_unique() == 4


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("contaminated_prompts.jsonl", b"{\n", "eval_prompt"),
        ("contaminated_prompts.jsonl", b"[1]\n", "eval_prompt"),
        ("contaminated_prompts.jsonl", b"\xff\n", "eval_prompt"),
        ("mmlu_a.csv", b"prompt,m\nx\xff,True\n", "not a table of RouteLLM"),
        ("mmlu_a.csv", b"prompt,m\n" + b"x" * (1 << 25) + b",True\n", "not a table of RouteLLM"),
        ("mmlu_a.csv", b"", "needs a `prompt` column"),
    ],
)
def test_a_file_of_routellms_that_cannot_be_read_is_an_error(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / "mmlu_a.csv").write_text("prompt,m\nx,True\n")
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ConfigError, match=says):
        import_files("routellm", [tmp_path / "mmlu_a.csv"])


def test_routerbench_pickle_as_pandas_wrote_it() -> None:
    table = import_files("routerbench", [DATA / "routerbench.pkl"])

    assert table.bad == ()
    assert table.frame.select("prompt_id", "prompt", "task", "model", "quality", "cost_usd").rows()[:3] == [
        ("arc.val.0", "Which?", "arc", "gpt-4", 1.0, 0.01),
        ("arc.val.0", "Which?", "arc", "mistral", 0.0, 0.001),
        ("arc.val.1", "What is it?", "arc", "gpt-4", 0.5, 0.02),
    ]


class _Attack:
    """Calls what it is told to when unpickled."""

    def __init__(self, call: Any, *args: Any) -> None:
        self._told = (call, args)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._told


@pytest.mark.parametrize(
    "attack",
    [_Attack(os.mkdir, "pwned"), _Attack(eval, "open('pwned', 'w')"), _Attack(np.savetxt, "pwned", [1.0])],
    ids=["os", "builtins", "numpy"],
)
def test_a_pickle_that_calls_anything_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: _Attack
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "table.pkl"
    path.write_bytes(pickle.dumps({"prompt": attack}))

    with pytest.raises(ConfigError, match="which a table of outcomes has no need of"):
        import_files("routerbench", [path])
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", pickle.dumps([1, 2]), pickle.dumps(None)])
def test_a_pickle_of_something_else_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.pkl"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="not a pickled table"):
        import_files("routerbench", [path])


def _wheel(path: Path, **splits: list[Any]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for split, records in splits.items():
            lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
            wheel.writestr(f"pareto_bandit/data/examples/{split}.jsonl", "\n".join(lines))
    return path


def test_paretobandit_wheel(tmp_path: Path) -> None:
    record = {"prompt": "Why?", "source": "mmlu", "arms": {"a": {"reward": 0.5, "cost": 0.01, "near_best": True}}}
    path = _wheel(tmp_path / "p.whl", val=[record, "{"], test_holdout=[{**record, "prompt": "Who?"}])

    table = import_files("paretobandit", [path])

    assert table.frame.select("prompt", "task", "model", "quality", "cost_usd").rows() == [
        ("Why?", "mmlu", "a", 0.5, 0.01)
    ]
    assert [bad.row for bad in table.bad] == [2]
    assert import_files("paretobandit-holdout", [path]).frame["prompt"].to_list() == ["Who?"]


def test_another_wheel_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is it the wheel of paretobandit"):
        import_files("paretobandit", [_wheel(tmp_path / "other.whl")])


SPEND = {
    "request_id": "r1",
    "model": "gpt",
    "spend": 0.002,
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "startTime": "2026-11-02T10:00:00+00:00",
    "endTime": "2026-11-02T10:00:01.500000+00:00",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
    "metadata": {"quality": 0.75},
    "status": "success",
}


@pytest.mark.parametrize("form", ["array", "lines"])
def test_litellm_spend_logs(tmp_path: Path, form: str) -> None:
    records = [
        SPEND,
        {**SPEND, "request_id": "r2", "status": "failure", "metadata": "{}"},
        {**SPEND, "request_id": "r3", "messages": {}},
        {**SPEND, "request_id": "r4", "metadata": {}},
    ]
    path = tmp_path / "spend.json"
    path.write_text(json.dumps(records) if form == "array" else "\n".join(map(json.dumps, records)))

    table = import_files("litellm", [path])

    assert table.frame.select("prompt_id", "prompt", "quality", "cost_usd", "latency_s").rows() == [
        ("r1", "Why?", 0.75, 0.002, 1.5),
        ("r2", "Why?", 0.0, 0.002, 1.5),
    ]
    assert [(bad.row, bad.reason.split(";")[0].split(":")[0]) for bad in table.bad] == [
        (3, "the prompt was not stored"),
        (4, "no quality"),
    ]


def test_turnouts_own_log(tmp_path: Path) -> None:
    decision = {
        "id": "d1",
        "component": "small",
        "candidates": [{"steps": ["small"], "quality": 0.7, "cost_usd": 0.0, "wait_s": 0, "finish_s": 1}],
        "usage": {"input_tokens": 5, "cost_usd": 0.001},
        "total_ms": 250,
        "prompt": "Why?",
        "quality": 1.0,
        "propensities": {"small": 0.9, "large": 0.1},
    }
    lines = [
        decision,
        {**decision, "id": "d2", "quality": None},
        {**decision, "id": "d3", "propensities": {"small": 0.5}},
        {**decision, "id": "d4", "propensities": {"large": 1.0}},
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))

    table = import_files("turnout", [path])

    assert table.frame.select("prompt_id", "model", "quality", "cost_usd", "latency_s").rows() == [
        ("d1", "small", 1.0, 0.001, 0.25)
    ]
    assert [(bad.row, bad.reason) for bad in table.bad] == [
        (2, "decision d2: its quality is not in the log"),
        (3, "decision d3: its propensities do not add up to 1"),
        (4, "decision d4: small was taken with probability 0"),
    ]


@pytest.mark.parametrize("message", [1, [{"role": "user", "content": 5}], ["Hello"], None])
def test_a_spend_log_without_a_readable_prompt_is_a_bad_row(tmp_path: Path, message: Any) -> None:
    path = tmp_path / "spend.jsonl"
    path.write_text(json.dumps({"request_id": "1", "model": "m", "messages": message, "status": "failure"}) + "\n")

    table = import_files("litellm", [path])

    assert table.frame.is_empty()
    assert [bad.row for bad in table.bad] == [1]


def test_a_line_of_paretobandit_that_is_no_utf8_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "val.jsonl"
    path.write_bytes(b'{"prompt": "\xff", "source": "s", "arms": {}}\n')

    assert [bad.row for bad in import_files("paretobandit", [path]).bad] == [1]


def test_spend_logs_that_are_no_utf8_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "spend.json"
    path.write_bytes(b'[{"model": "\xff"}]')

    with pytest.raises(ConfigError, match=r"spend\.json: not UTF-8: invalid start byte at byte 12"):
        import_files("litellm", [path])


def test_an_unknown_kind_is_an_error_that_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not one of routellm, routerbench"):
        import_files("csv", [tmp_path])
