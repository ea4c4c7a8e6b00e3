"""`turnout ask`: a question, the answer as it comes, and one line about where it came from."""

from __future__ import annotations

import base64
import json
import mimetypes
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from services.contracts.errors import TurnoutError
from services.controller.client import Client, as_object, checked
from services.controller.lines import printable

_DATA = b"data:"
_DONE = b"[DONE]"


@dataclass(frozen=True)
class Question:
    """What is asked, and how it should be routed."""

    text: str
    images: tuple[Path, ...] = ()
    model: str = "auto"
    quality: float | None = None
    max_cost_usd: float | None = None
    privacy: str | None = None
    max_tokens: int | None = None


@dataclass
class Answered:
    """What a stream told besides its text."""

    turnout: dict[str, Any] = field(default_factory=dict)
    first_s: float | None = None
    cut_off: bool = False


def ask(client: Client, question: Question, *, as_json: bool) -> int:
    """Ask and print; returns the exit code.

    Raises:
        TurnoutError: no answer, or one that broke off.
    """
    body = request_body(question, stream=not as_json)
    if as_json:
        with client.http() as http:
            response = checked(http.post("/v1/chat/completions", json=body))
        print(json.dumps(as_object(response), indent=2, ensure_ascii=False))  # noqa: T201 - the program's answer
        return 0
    started_s = time.monotonic()
    answered = Answered()
    with client.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as response:
        if not response.is_success:
            response.read()
            checked(response)
        try:
            for text in texts(events(response.iter_bytes()), answered):
                if answered.first_s is None:
                    answered.first_s = time.monotonic() - started_s
                _write(sys.stdout, text)
        finally:
            _write(sys.stdout, "\n")
    sys.stderr.write(last_line(answered, time.monotonic() - started_s) + "\n")
    return 0


def request_body(question: Question, *, stream: bool) -> dict[str, Any]:
    """The request as JSON.

    Raises:
        TurnoutError: an image or standard input cannot be read, or there is no question.
    """
    text = _stdin() if question.text == "-" else question.text
    if not text.strip():
        raise TurnoutError("there is no question")
    content: str | list[dict[str, Any]] = text
    if question.images:
        pictures = [{"type": "image_url", "image_url": {"url": data_url(path)}} for path in question.images]
        content = [{"type": "text", "text": text}, *pictures]
    body: dict[str, Any] = {"model": question.model, "messages": [{"role": "user", "content": content}]}
    if question.max_tokens is not None:
        body["max_tokens"] = question.max_tokens
    wishes = {"quality": question.quality, "max_cost_usd": question.max_cost_usd, "privacy": question.privacy}
    if given := {name: value for name, value in wishes.items() if value is not None}:
        body["turnout"] = given
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def data_url(path: Path) -> str:
    """An image file as a data URL.

    Raises:
        TurnoutError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TurnoutError(f"{path}: {error.strerror or error}") from error
    kind = mimetypes.guess_type(path.name)[0] or "image/png"  # the gateway looks at the bytes themselves
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def events(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of an event stream.

    Split by hand at line feeds only: the text may hold U+2028, where `str.splitlines` would break a JSON object.
    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html

    Raises:
        TurnoutError: it is no such stream, or it ends before `[DONE]`.
    """
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if not line.startswith(_DATA):
                continue
            data = line.removeprefix(_DATA).strip()
            if data == _DONE:
                return
            try:
                found = json.loads(data)
            except ValueError as error:
                raise TurnoutError("the answer is not readable") from error
            if isinstance(found, dict):
                yield found
    raise TurnoutError("the answer broke off")


def texts(found: Iterable[dict[str, Any]], answered: Answered) -> Iterator[str]:
    """The pieces of text in a stream's objects; what else they tell is noted in `answered`.

    Raises:
        TurnoutError: the error that ended the stream.
    """
    for event in found:
        if isinstance(error := event.get("error"), dict):
            raise TurnoutError(f"the answer broke off: {error.get('message', 'no reason given')}")
        answered.turnout = event.get("turnout") or answered.turnout
        for choice in event.get("choices") or ():
            answered.cut_off = answered.cut_off or choice.get("finish_reason") == "length"
            delta = choice.get("delta") or {}
            if text := delta.get("content") or delta.get("refusal"):
                yield str(text)


def last_line(answered: Answered, took_s: float) -> str:
    """Who answered, at what cost, in what time, from what, and whether something was missed."""
    turnout = answered.turnout
    model = turnout.get("model")
    parts = [
        str(turnout.get("component", "unknown")) + (f" ({model})" if model else ""),
        f"${turnout.get('cost_usd', 0.0):.6f}",
        f"{took_s:.1f} s" + (f", first word after {answered.first_s:.1f} s" if answered.first_s is not None else ""),
    ]
    if sources := source_names(turnout.get("sources") or ()):
        parts.append(f"from {', '.join(sources)}")
    if answered.cut_off:
        parts.append("cut off at its longest")
    if turnout.get("degraded"):
        parts.append(f"degraded: {turnout['degraded']}")
    return printable(" · ".join(parts)).replace("\n", " ")


def source_names(sources: Iterable[dict[str, Any]]) -> list[str]:
    """The documents behind an answer, each once, best first."""
    names = (f"{s.get('source', '?')}" + (f" p. {s['page']}" if s.get("page") else "") for s in sources)
    return list(dict.fromkeys(names))


def _stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise TurnoutError("standard input is not text") from error


def _write(stream: TextIO, text: str) -> None:
    # A model may have been talked into writing escape sequences; a terminal would obey them.
    stream.write(printable(text) if stream.isatty() else text)
    stream.flush()
