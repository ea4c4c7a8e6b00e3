"""A process that is killed in the middle of its work loses nothing that it had acknowledged."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from services.retrieval.chunk import Chunk
from services.retrieval.library import Library
from services.retrieval.read import Outcome

_CHILD = """
import sys
from pathlib import Path
from services.retrieval.chunk import Chunk
from services.retrieval.library import Library
from services.retrieval.read import Outcome

library = Library(Path(sys.argv[1]))
print("open", flush=True)
for number in range(int(sys.argv[2]), 10_000):
    chunks = [Chunk(f"entry {number} stands beside number{number}"), Chunk(f"second part of {number}")]
    library.put("fixed", f"print {number}", 1, Outcome("", chunks))
    library.put(f"source {number}", "print", 1, Outcome("", chunks))
    print(number, flush=True)
    library.embed_one()
"""


@pytest.mark.parametrize("seed", range(2))
def test_killed_while_ingesting_and_consistent_ever_after(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)  # noqa: S311 - when to kill is no secret
    last = 0
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path), str(last + 1)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        for _ in range(generator.randint(1, 2)):
            last = int(child.stdout.readline())
        try:  # at any moment after the last acknowledgement
            child.wait(generator.random() * 0.3)
        except subprocess.TimeoutExpired:
            child.kill()
        rest = child.stdout.read().split()
        child.wait(10)
        child.stdout.close()
        last = int(rest[-1]) if rest else last

        library = Library(tmp_path)
        sizes = library.holdings()
        assert sizes.documents in (last + 1, last + 2)  # `fixed`, one for each number, perhaps one more unsaid
        assert sizes.passages == 2 * sizes.documents
        while library.embed_one() is not None:
            pass
        for number in (1, last):
            sources = [passage.source for passage in library.search(f"number{number}", 3).passages]
            assert f"source {number}" in sources
        fixed = [p for p in library.search(f"number{last}", 50).passages if p.source == "fixed"]
        assert len(fixed) == 2  # one generation of it, never two
        library.close()
        last = max(last, sizes.documents - 1)


def test_files_that_a_killed_commit_left_behind_are_no_obstacle(tmp_path: Path) -> None:
    """A commit writes which documents are deleted before it counts: the next one wants the same file's name."""
    library = Library(tmp_path)
    for number in range(3):
        library.put(f"source {number}", "print", 1, Outcome("", [Chunk(f"entry number{number}")]))
    (folder,) = tmp_path.glob("words-*")
    segments = {path.stem.partition(".")[0] for path in folder.glob("*.term")}
    for name in (f"{segment}.{operation}.del" for segment in segments for operation in range(100)):
        (folder / name).touch(exist_ok=True)
    library.put("source 1", "other print", 1, Outcome("", [Chunk("another entry number1")]))
    assert [passage.text for passage in library.search("number1", 1).passages] == ["another entry number1"]
    assert library.holdings().documents == 3
    assert not folder.exists()
    library.close()
