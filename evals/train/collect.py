"""Joins the measurements of several models into the small file that training reads.

`python -m evals.train.collect --tiny A.jsonl --small B.jsonl C.jsonl --out FILE.jsonl`
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from evals.train.dataset import MEASURED
from evals.train.suite import build

# Tokens of the answer are taken from the models that follow the question; the tiny one often does not stop.
_NO_LENGTHS_FROM = "tiny"


def collect(profiles: dict[str, list[Path]], seed: int) -> list[dict[str, Any]]:
    """One record per case: its prompt, and the quality of each model by profile (`grounded_` with the passage)."""
    quality: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    tokens: dict[str, list[int]] = defaultdict(list)
    for profile, files in profiles.items():
        for file in files:
            for line in file.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                name = f"grounded_{profile}" if row["grounded"] else profile
                quality[row["id"]][name][row["model"]] = row["quality"]
                if profile != _NO_LENGTHS_FROM and not row["grounded"]:
                    tokens[row["id"]].append(row["tokens"])
    records = []
    for case in build(seed):
        if case.id not in quality:
            continue
        record: dict[str, Any] = {"id": case.id, "family": case.family, "prompt": case.item.prompt}
        if case.item.system:
            record["system"] = case.item.system
        record["quality"] = quality[case.id]
        if lengths := tokens[case.id]:
            record["tokens"] = round(sum(lengths) / len(lengths), 1)
        records.append(record)
    return records


def main() -> None:
    """Write the joined file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", type=Path, nargs="+", required=True)
    parser.add_argument("--small", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=MEASURED)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    records = collect({"tiny": args.tiny, "small": args.small}, args.seed)
    args.out.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")


if __name__ == "__main__":
    main()
