"""What becomes of rows that cannot be used: they are named, and nothing goes on without them unasked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from evals.outcomes.schema import Outcomes
from services.contracts.errors import ConfigError

SHOWN = 20


def accept(table: Outcomes, files: Sequence[Path], *, skip: bool) -> Outcomes:
    """The table, after every bad row has been named on standard error (the first few; then how many more).

    Raises:
        ConfigError: there are bad rows, and `skip` does not allow to go on; or no row is left.
    """
    for bad in table.bad[:SHOWN]:
        sys.stderr.write(f"{bad}\n")
    if len(table.bad) > SHOWN:
        sys.stderr.write(f"… and {len(table.bad) - SHOWN:,} more\n")
    if table.bad and not skip:
        raise ConfigError(f"{len(table.bad):,} rows cannot be used; --skip-bad-rows goes on without them")
    if table.frame.is_empty():
        raise ConfigError(f"{', '.join(map(str, files))}: no row can be used")
    return table
