"""A process's sign of life for whoever watches its container: a file that is written with every beat.

Run as a script (`python3 -I -S health.py`), it is the health check: exit code 0 while the file is fresh. That needs no
shell, no port and no package, and takes some ten milliseconds.
"""

import os
import sys
import time
from pathlib import Path

VARIABLE = "TURNOUT_HEALTH_FILE"
STALE_S = 5.0  # ten beats missed
_WORKING = frozenset(("standby", "ready", "unconfigured", "draining"))


def note(state: str) -> None:
    """Say that this process is alive, and in which state; nothing happens where nobody asked for the file."""
    named = os.environ.get(VARIABLE)
    if named:
        Path(named).write_text(state)


def problem(path: Path, now_s: float) -> str:
    """Why the process that writes the file is not well; empty if it is.

    Args:
        now_s: seconds since the epoch.
    """
    try:
        state, age_s = path.read_text(), now_s - path.stat().st_mtime
    except OSError as error:
        return f"no sign of life yet: {error.strerror}"
    if age_s > STALE_S:
        return f"{state}, but silent for {age_s:.0f} s"
    return "" if state in _WORKING else state


def main() -> int:
    """The check; says what is wrong."""
    found = problem(Path(os.environ.get(VARIABLE, "/tmp/turnout-health")), time.time())  # noqa: S108 - a private tmpfs
    sys.stdout.write((found or "ok") + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
