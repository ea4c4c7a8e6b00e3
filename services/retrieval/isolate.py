"""Reads a document in a child process, so that a hostile one can neither hang nor bring down the service."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import msgspec
import structlog

from services.contracts.errors import InternalError
from services.retrieval.read import Job, Outcome

log = structlog.get_logger()

TIMEOUT_S = 90.0
_OUTCOME = msgspec.msgpack.Decoder(Outcome)


async def read_apart(job: Job, timeout_s: float = TIMEOUT_S) -> Outcome:
    """The same as `read.read`, in a process of its own. Killed when cancelled, or when `timeout_s` have passed.

    Raises:
        InternalError: the child could not be started.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.retrieval.read",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise InternalError("no process could be started to read the document") from error
    try:
        async with asyncio.timeout(timeout_s):
            said, complaint = await child.communicate(msgspec.msgpack.encode(job))
    except TimeoutError:
        return Outcome(refusal=f"reading it took longer than {timeout_s:g} s")
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await asyncio.shield(child.wait())
    if child.returncode == 0:
        with contextlib.suppress(msgspec.DecodeError):
            return _OUTCOME.decode(said)
    log.warning("document_reader_died", status=child.returncode, stderr=complaint[-2000:].decode("utf-8", "replace"))
    if b"MemoryError" in complaint:
        return Outcome(refusal="it takes more memory to read than a document may")
    return Outcome(refusal="reading it failed: the file is broken, or made to do harm")
