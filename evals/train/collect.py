"""Adds measurements to the small file that training reads: one record per prompt, quality by profile and model.

`python -m evals.train.collect --tiny A.jsonl --small B.jsonl C.jsonl --out FILE.jsonl`
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evals.train.dataset import MEASURED

# Tokens of the answer are taken from the models that follow the question; the tiny one often does not stop.
_NO_LENGTHS_FROM = "tiny"
Record = dict[str, Any]


def collect(known: list[Record], measured: Mapping[str, list[Record]]) -> list[Record]:
    """The known records with what was measured, by profile, added. A prompt measured again keeps the new result."""
    records = {(r["family"], r.get("system", ""), r["prompt"]): r for r in known}
    for profile, rows in measured.items():
        for row in rows:
            key = (row["family"], row["system"], row["prompt"])
            record = records.setdefault(key, {"family": row["family"], "prompt": row["prompt"], "quality": {}})
            if row["system"]:
                record["system"] = row["system"]
            name = f"grounded_{profile}" if row["grounded"] else profile
            record["quality"].setdefault(name, {})[row["model"]] = row["quality"]
            if profile != _NO_LENGTHS_FROM and not row["grounded"]:
                record["tokens"] = row["tokens"]
    return list(records.values())


def _read(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def main() -> None:
    """Write the file again, with the new measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", type=Path, nargs="+", default=[])
    parser.add_argument("--small", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=MEASURED)
    args = parser.parse_args()
    known = list(_read(args.out)) if args.out.exists() else []
    measured = {"tiny": args.tiny, "small": args.small}
    records = collect(
        known, {profile: [r for file in files for r in _read(file)] for profile, files in measured.items()}
    )
    args.out.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")


if __name__ == "__main__":
    main()
