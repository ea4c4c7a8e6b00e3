"""`make prove-swap`: change what runs under load, again and again, and count from the client's side what that did.

    python -m evals.prove.swap [--swaps N] [--requests N] [--clients N] [--out FILE] [--broken-switch]

Exit code 1 when anybody noticed anything: a failed, truncated or wrongly answered request, a broken catalog that was
taken, an unchanged component that was started again. `--broken-switch` kills the old instance in the middle of each
swap instead of letting it finish: the proof must then fail, which shows that it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from evals.prove.load import Load
from evals.prove.models import ModelFile, describe, requantised, shipped, truncated
from evals.prove.system import COMPONENT, Answer, System, catalog, running
from evals.prove.tally import Change, Outcome, Tally, tally
from evals.prove.verdict import Findings, conclude, options

_QUIET_SHARE = 0.2
_MOST_TIMES_QUIET_P99 = 1.5
_SLOTS, _OTHER_SLOTS = 4, 6


@dataclass
class Proof(Findings):
    """What was found.

    Attributes:
        alike: of the requests under change those that the model of the quiet time answered, with the settings of that
            time: only these compare.
    """

    quiet: Tally
    under_change: Tally
    alike: Tally
    swaps: int
    refused: int
    beyond_load_s: list[float]
    load_s: list[float]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to prove, and with what."""

    swaps: int
    requests: int
    clients: int
    max_tokens: int
    models: tuple[ModelFile, ...]
    broken: tuple[tuple[str, Any], ...]
    broken_switch: bool = False


def broken_catalogs(model: ModelFile, folder: Path) -> tuple[tuple[str, Any], ...]:
    """(what is wrong, configuration) of catalogs that must be refused."""
    good = catalog(model)
    wrong = catalog(ModelFile(model.path, "0" * 64))
    absent = catalog(ModelFile(folder / "absent.gguf", model.sha256))
    crowded = catalog(model, system="Answer politely and at length. " * 200)
    crowded["components"][COMPONENT]["context_tokens"] = 64
    named = json.loads(json.dumps(good).replace(f'"{COMPONENT}"', '"auto"'))
    typo = json.loads(json.dumps(good).replace('"slots"', '"slotz"'))
    return (
        ("a typo", typo),
        ("a missing file", absent),
        ("a wrong digest", wrong),
        ("a model that loads but cannot answer its probe", crowded),
        ("a truncated file", catalog(truncated(model, folder))),
        ("no YAML at all", "components: ["),
        ("nothing", ""),
        ("a reserved name", named),
        ("fewer replicas at most than at least", catalog(model, replicas=(3, 2))),
        ("an unknown kind", json.loads(json.dumps(good).replace('"llm_local"', '"llm_lokal"'))),
    )


async def prove(system: System, plan: Plan, say: Console) -> Proof:
    """Load the system, first quietly, then through all changes."""
    first = plan.models[0]
    load = Load(system.url, COMPONENT, plan.clients, plan.max_tokens)
    before = {name: beat["pid"] for name, beat in system.instances().items() if beat["component"] != COMPONENT}
    changes: list[Change] = []
    answers: list[Answer] = []
    refused = 0
    problems: list[str] = []
    quiet_count = max(1, round(plan.requests * _QUIET_SHARE))
    async with load.running():
        await load.until(quiet_count)
        quiet = list(load.outcomes)
        for number in range(plan.swaps):
            model = plan.models[(number + 1) % len(plan.models)]
            # The settings change, too, but with the model that is compared: more slots are a slower request each.
            wanted = catalog(model, slots=_SLOTS if model == first else _OTHER_SLOTS)
            killing = asyncio.create_task(_kill_old(system)) if plan.broken_switch else None
            answer = await system.apply(wanted)
            if killing is not None:
                await killing
            if not answer.ok:
                problems.append(f"swap {number + 1} was refused: {answer.body}")
                continue
            answers.append(answer)
            changes.append(Change(answer.asked_s, answer.done_s, model.name))
            say.print(
                f"swap {number + 1} of {plan.swaps}: {model.name} after {answer.body['swap_s']:.1f} s", style="dim"
            )
            if number < len(plan.broken):
                refused += await _must_be_refused(system, plan.broken[number], problems)
            share = (number + 1) / plan.swaps
            await load.until(quiet_count + round(share * (plan.requests - quiet_count)))
    after = {name: beat["pid"] for name, beat in system.instances().items() if name in before}
    if before != after:
        problems.append(f"unchanged components were touched: {before} became {after}")
    return _judged(load.outcomes, quiet, first, changes, answers, refused, problems)


def _judged(
    outcomes: list[Outcome],
    quiet: list[Outcome],
    first: ModelFile,
    changes: list[Change],
    answers: list[Answer],
    refused: int,
    problems: list[str],
) -> Proof:
    calm = tally(quiet, first.name, ())
    later = outcomes[len(quiet) :]
    under = tally(later, first.name, changes)
    alike = tally([o for o in later if not o.error and o.model == first.name], first.name, changes)
    for what, count in (("failed", under.failed), ("truncated", under.truncated), ("wrong model", under.wrong_model)):
        if count:
            problems.append(f"{count} of {under.requests} requests: {what}")
    problems += sorted({f"request failed: {o.error}" for o in outcomes if o.error})
    if alike.p99_ms > _MOST_TIMES_QUIET_P99 * calm.p99_ms:
        problems.append(
            f"p99 outside loading: {alike.p99_ms:.0f} ms, over {_MOST_TIMES_QUIET_P99} times {calm.p99_ms:.0f} ms"
        )
    return Proof(
        quiet=calm,
        under_change=under,
        alike=alike,
        swaps=len(changes),
        refused=refused,
        beyond_load_s=[round(a.body["swap_s"] - a.body["load_s"], 4) for a in answers],
        load_s=[round(a.body["load_s"], 3) for a in answers],
        problems=problems,
    )


async def _must_be_refused(system: System, broken: tuple[str, Any], problems: list[str]) -> int:
    what, configuration = broken
    answer = await system.apply(configuration)
    if answer.ok:
        problems.append(f"{what} was taken")
    return int(not answer.ok)


async def _kill_old(system: System) -> None:
    """A swap as it must not be: the old instance dies while it answers."""
    beats = system.instances()
    old = {n: b["pid"] for n, b in beats.items() if b["component"] == COMPONENT and b["state"] == "ready"}
    while True:
        beats = await asyncio.to_thread(system.instances)
        if any(beat["component"] == COMPONENT and name not in old for name, beat in beats.items()):
            for pid in old.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        await asyncio.sleep(0.05)


def show(proof: Proof, console: Console) -> None:
    """The result as a table."""
    table = Table("", "quiet", "through changes", "of these, same model", header_style="bold")
    for name in ("requests", "failed", "truncated", "wrong_model", "p50_ms", "p99_ms", "p99_all_ms"):
        cells = [getattr(it, name) for it in (proof.quiet, proof.under_change, proof.alike)]
        table.add_row(name, *(f"{cell:.0f}" for cell in cells))
    console.print(table)
    beyond = sorted(proof.beyond_load_s) or [0.0]
    console.print(
        f"{proof.swaps} swaps, {beyond[len(beyond) // 2]:.2f} s beyond loading (median; at most {beyond[-1]:.2f} s); "
        f"{proof.refused} broken catalogs refused"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = options("swap", __doc__, clients=8)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--max-tokens", type=int, default=6)
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="more GGUF files to swap between")
    parser.add_argument("--broken-switch", action="store_true")
    given = parser.parse_args(arguments)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="turnout-prove-") as name:
        folder = Path(name)
        models = (shipped(), requantised(folder, "q8_0"), requantised(folder, "q5_0"), *map(describe, given.models))
        plan = Plan(
            given.swaps,
            given.requests,
            given.clients,
            given.max_tokens,
            models,
            broken_catalogs(models[0], folder),
            given.broken_switch,
        )
        with running(folder, catalog(models[0])) as system:
            proof = asyncio.run(prove(system, plan, console))
    show(proof, console)
    return conclude(proof, given.out, console)


if __name__ == "__main__":
    sys.exit(main())
