from __future__ import annotations

import errno
import io
import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.lines import MAX_LINE_BYTES, LineSplitter, printable, read_line
from services.controller.screen import Screen


@given(st.lists(st.binary(max_size=40)))
def test_lines_come_out_whole_however_they_arrive(pieces: list[bytes]) -> None:
    splitter, whole = LineSplitter(), LineSplitter()
    found = [line for piece in pieces for line in splitter.feed(piece)] + splitter.end()
    assert found == whole.feed(b"".join(pieces)) + whole.end()


def test_a_line_without_end_is_cut_and_not_kept() -> None:
    splitter = LineSplitter()
    found = [line for _ in range(100) for line in splitter.feed(b"x" * 1000)]
    assert {len(line) for line in found} == {MAX_LINE_BYTES}
    assert sum(map(len, found)) + len(splitter.end()[0]) == 100_000


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    (line,) = LineSplitter().feed(b"\x1b]0;owned\x07 \x9b31m caf\xc3\xa9\tend\r\n")
    assert "\x1b" not in line
    assert "\x07" not in line
    assert line.endswith("caf\u00e9\tend")
    assert printable("a\nb\x1b[2Jc") == "a\nb\ufffd[2Jc"


def test_a_structured_line_is_shown_for_a_person() -> None:
    line = read_line('{"event": "loaded", "level": "warning", "model": "a b", "n": 3, "timestamp": "t"}')
    assert (line.level, line.text) == ("warning", 'loaded model="a b" n=3')


def test_json_that_is_not_a_log_line_is_plain_text() -> None:
    for text in ('{"event": 1}', "{broken", "[1]", '{"level": "info"}'):
        assert (read_line(text).level, read_line(text).text) == ("out", text)


def test_the_reason_of_a_refusal_is_found() -> None:
    assert read_line('{"event": "cannot_start", "level": "error", "reason": "no file"}').reason == "no file"
    assert read_line('{"event": "other", "level": "error", "reason": "no file"}').reason == ""


def shown(*lines: tuple[str, str], as_json: bool = False) -> str:
    stream = io.StringIO()
    screen = Screen(stream, io.StringIO(), as_json=as_json)
    screen.align(["a-1", "longer-name-1"])
    for name, text in lines:
        screen.child(name, text)
    return stream.getvalue()


def test_lines_stand_aligned_under_their_names() -> None:
    found = shown(("a-1", "hello"), ("longer-name-1", '{"event": "bad", "level": "error"}'))
    assert found == "a-1           | hello\nlonger-name-1 | error: bad\n"


def test_every_line_of_a_traceback_carries_the_name() -> None:
    record = {"event": "failed", "level": "error", "exception": "Traceback\n  File x\nBoom"}
    found = shown(("a-1", json.dumps(record)))
    assert found.count("a-1           | ") == 4


def test_the_lines_of_the_parent_have_their_time_and_keep_to_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_LOG", "warning")
    stream = io.StringIO()
    screen = Screen(stream, io.StringIO(), as_json=True)
    screen.say("one-1 serves")
    screen.say("one-1 died", "warning")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["event"], line["level"]) == ("one-1 died", "warning")
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


class Full(io.StringIO):
    """A file on a disk that is full for a while."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_lines_that_cannot_be_written_are_counted_and_end_nothing() -> None:
    stream = Full()
    screen = Screen(stream, stream, as_json=False)
    stream.full = True
    screen.child("a-1", "one")
    screen.say("two")
    screen.announce("ready")
    stream.full = False
    screen.child("a-1", "three")
    assert stream.getvalue().splitlines() == [
        "a-1     | three",
        "turnout | warning: 2 lines before this one could not be written here",
    ]


def test_as_json_each_line_is_an_object_with_the_name() -> None:
    found = shown(("a-1", "printed"), ("a-1", '{"event": "e", "level": "info", "component": "a-1"}'), as_json=True)
    assert [json.loads(line)["component"] for line in found.splitlines()] == ["a-1", "a-1"]
