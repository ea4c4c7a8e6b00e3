"""A labelled suite: what is asked, and the rule by which code judges the answer.

    documents:
      - {source: desk.md, text: "The parcel desk closes at 18:45 on Fridays."}
    cases:
      - {id: sum-1, task: arithmetic, prompt: "What is 17 * 23?", check: {number: 391}}
      - {id: total-1, task: screen, screen: ["Total due 318.40"], prompt: "What is the total?", check: {number: 318.4}}

The rules of `check`: `label` (the first of `labels` that the answer names), `number` (the last number in it),
`contains` (all of these texts, in any case), `json` (an object with at least these values).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from evals.yaml_file import read_yaml
from services.contracts.errors import ConfigError

SHIPPED = Path(__file__).parent / "suite.yaml"
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")
_WORD = re.compile(r"[^\W_]+")
_TOLERANCE = 1e-6


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one rule is set; `labels` belong to `label`."""

    label: str | None = None
    labels: tuple[str, ...] = ()
    number: float | None = None
    contains: tuple[str, ...] = ()
    json: dict[str, Any] | None = None


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request and its rule. `screen` are lines of text that are drawn as the screenshot that goes with it."""

    id: str
    task: str
    prompt: str
    check: Check
    screen: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    max_tokens: int = 64


class SuiteDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document that is put into the index before the cases are asked."""

    source: str
    text: str


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    cases: tuple[Case, ...]
    documents: tuple[SuiteDocument, ...] = ()


def read_suite(path: Path) -> Suite:
    """The suite of a YAML file.

    Raises:
        ConfigError: the file cannot be read or is no suite; says which case.
    """
    suite = read_yaml(path, Suite, "a suite")
    if not suite.cases:
        raise ConfigError(f"{path}: a suite without cases")
    if len({case.id for case in suite.cases}) < len(suite.cases):
        raise ConfigError(f"{path}: two cases have the same id")
    for case in suite.cases:
        rules = (case.check.label is not None, case.check.number is not None, bool(case.check.contains))
        if sum(rules) + (case.check.json is not None) != 1:
            raise ConfigError(f"{path}: {case.id}: exactly one of label, number, contains and json says what is right")
        if case.check.label is not None and case.check.label not in case.check.labels:
            raise ConfigError(f"{path}: {case.id}: its label is not among its labels")
    return suite


def right(check: Check, answer: str) -> bool:
    """Whether an answer is right. Pure."""
    if check.label is not None:
        return _label(check.labels, answer) == check.label
    if check.number is not None:
        found = _NUMBER.findall(answer)
        return bool(found) and abs(float(found[-1].replace(",", "")) - check.number) <= _TOLERANCE * max(
            1.0, abs(check.number)
        )
    if check.json is not None:
        return _object(answer, check.json)
    return all(part.casefold() in answer.casefold() for part in check.contains)


def _label(labels: tuple[str, ...], answer: str) -> str | None:
    """The label that the answer names first, as words of its own."""
    words = [word.casefold() for word in _WORD.findall(answer)]
    places: dict[str, int] = {}
    for label in labels:
        sought = [word.casefold() for word in _WORD.findall(label)]
        for at in range(len(words) - len(sought) + 1):
            if words[at : at + len(sought)] == sought:
                places[label] = at
                break
    return min(places, key=lambda label: places[label], default=None)


def _object(answer: str, wanted: dict[str, Any]) -> bool:
    start, end = answer.find("{"), answer.rfind("}")
    try:
        found = json.loads(answer[start : end + 1])
    except ValueError:
        return False
    return isinstance(found, dict) and all(_same(found.get(key), value) for key, value in wanted.items())


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, str):
        return isinstance(found, str) and found.strip().casefold() == wanted.casefold()
    return bool(found == wanted)
