"""From the bytes of a document to its passages; and, run as a program, the same for a parent that keeps its distance.

As a program: one msgpack `Job` on standard input, one `Outcome` on standard output, under limits on memory and time
that the kernel enforces.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import sys

import msgspec

from services.contracts.errors import InvalidRequest
from services.retrieval.chunk import Chunk, cut
from services.retrieval.extract import extract
from services.worker.parent import die_with_parent

MEMORY_BYTES = 2 * 1024**3
CPU_S = 60
MAX_PASSAGES = 100_000


class Job(msgspec.Struct, frozen=True):
    """A document to read. `kind` is what `extract.kind_of` gave."""

    kind: str
    data: bytes
    chunk_chars: int


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """The passages of a document, or in `refusal` the reason why there are none."""

    title: str = ""
    chunks: list[Chunk] = []
    refusal: str = ""


def read(job: Job) -> Outcome:
    """The passages of a document."""
    try:
        found = extract(job.kind, job.data)
        chunks = cut(found.blocks, job.chunk_chars)
    except InvalidRequest as error:
        return Outcome(refusal=error.message)
    except MemoryError:
        return Outcome(refusal="it takes more memory to read than a document may")
    if len(chunks) > MAX_PASSAGES:
        return Outcome(refusal=f"{len(chunks)} passages; a document may have {MAX_PASSAGES}")
    return Outcome(found.title[:200], chunks)


def main() -> None:
    """Read one document and end."""
    for what, limit in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS has no RLIMIT_AS; the parent's clock still holds there
            resource.setrlimit(what, (limit, limit))
    die_with_parent()
    logging.disable()  # pypdf tells of every oddity of a file, and a hostile file has no end of them
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    sys.stdout.buffer.write(msgspec.msgpack.encode(read(job)))


if __name__ == "__main__":
    main()
