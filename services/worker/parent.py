"""Tie a child's life to its parent's, so that killing `turnout up` with SIGKILL leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int | None = None, signum: int = signal.SIGKILL) -> None:
    """Ask the kernel to end this process when its parent dies (Linux; a no-op elsewhere).

    Also usable as `preexec_fn`; the kernel watches the *thread* that forked, so fork from one that lives on.
    Source: prctl(2), PR_SET_PDEATHSIG.

    Args:
        parent: the process id the parent is known to have; catches a parent that died before this call.
        signum: what the kernel sends.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid() if parent is None else parent
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:  # it died between the two lines
        os.kill(os.getpid(), signum)
