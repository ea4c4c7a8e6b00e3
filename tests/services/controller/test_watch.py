from __future__ import annotations

import asyncio
from pathlib import Path

from services.controller.watch import digest_at, digest_of, saved


async def test_a_saved_file_is_noticed_once_and_only_when_it_differs(tmp_path: Path) -> None:
    path = tmp_path / "turnout.yaml"
    path.write_text("one")
    found: asyncio.Queue[bytes] = asyncio.Queue()

    async def watch() -> None:
        async for data in saved(path, digest_of(b"one"), poll_s=0.01):
            found.put_nowait(data)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)  # it looks at the file before it waits for the first time
    async with asyncio.timeout(10):
        path.write_text("two")
        assert await found.get() == b"two"
        path.unlink()  # an editor that puts a new file in its place
        (tmp_path / "new").write_text("three")
        (tmp_path / "new").rename(path)
        assert await found.get() == b"three"
    watching.cancel()
    assert found.empty()


async def test_what_was_saved_before_the_watch_began_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "turnout.yaml"
    path.write_text("one")
    known = digest_at(path)
    path.write_text("two")
    async with asyncio.timeout(10):
        assert await anext(saved(path, known, poll_s=0.01)) == b"two"
