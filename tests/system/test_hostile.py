"""Bad input against the whole system: the right status, OpenAI's error object, and the service unharmed."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import time
import zlib
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from tests.support.running import Running

pytestmark = pytest.mark.system

GOOD: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 3}


def png(width: int = 40, height: int = 20) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(data, "PNG")
    return data.getvalue()


def bomb() -> bytes:
    """A small PNG that says it is 60,000 pixels square."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
        + chunk(b"IEND", b"")
    )


def with_image(url: str) -> dict[str, Any]:
    content = [{"type": "text", "text": "Read it."}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": "auto", "messages": [{"role": "user", "content": content}]}


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def changed(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


BAD: dict[str, tuple[bytes, int, str | None]] = {
    "an array": (b"[1]", 400, None),
    "a string": (b'"hi"', 400, None),
    "nothing": (b"", 400, None),
    "not JSON": (b"{model:", 400, None),
    "not UTF-8": (b'{"model": "\xff\xfe"}', 400, None),
    "trailing garbage": (json.dumps(GOOD).encode() + b" x", 400, None),
    "deep nesting": (b'{"model":' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, None),
    "duplicate key": (b'{"model": "small", "model": "cloud", "messages": []}', 400, None),
    "lone surrogate": (b'{"model": "small", "messages": [{"role": "user", "content": "\\ud800"}]}', 400, None),
    "NaN": (changed(temperature=1).replace(b'"temperature": 1', b'"temperature": NaN'), 400, None),
    "huge number": (changed(temperature=1).replace(b'"temperature": 1', b'"temperature": 1e999'), 400, None),
    "huge integer": (changed(max_tokens=1).replace(b'"max_tokens": 1', b'"max_tokens": ' + b"9" * 5000), 400, None),
    "unknown model": (changed(model="gpt-17"), 404, "model_not_found"),
    "unknown parameter": (changed(temprature=1), 400, None),
    "api_base": (changed(api_base="http://127.0.0.1:1/"), 400, None),
    "n_discard": (changed(n_discard=-1), 400, None),
    "two answers": (changed(n=2), 400, None),
    "empty messages": (changed(messages=[]), 400, None),
    "unknown role": (changed(messages=[{"role": "root", "content": "x"}]), 400, None),
    "negative limit": (changed(max_tokens=-1), 400, None),
    "wild temperature": (changed(temperature=99), 400, None),
    "prompt beyond the context": (
        changed(messages=[{"role": "user", "content": "word " * 5000}]),
        400,
        "context_length_exceeded",
    ),
    "truncated PNG": (json.dumps(with_image(data_url(png()[:-30]))).encode(), 400, None),
    "not an image": (json.dumps(with_image(data_url(b"GIF89 no"))).encode(), 400, None),
    "not base64": (json.dumps(with_image("data:image/png;base64,@@@@")).encode(), 400, None),
    "file URL": (json.dumps(with_image("file:///etc/passwd")).encode(), 400, None),
    "metadata service": (json.dumps(with_image("http://169.254.169.254/latest/meta-data/")).encode(), 400, None),
    "loopback": (json.dumps(with_image("http://127.0.0.1:22/x.png")).encode(), 400, None),
    "loopback in disguise": (json.dumps(with_image("http://[::ffff:127.0.0.1]/x.png")).encode(), 400, None),
    "loopback as a number": (json.dumps(with_image("http://2130706433/x.png")).encode(), 400, None),
    "localhost": (json.dumps(with_image("http://localhost/x.png")).encode(), 400, None),
    "bad wish": (changed(turnout={"quality": 7}), 400, None),
    "unknown wish": (changed(turnout={"cheap": True}), 400, None),
}


def send(system: Running, body: bytes) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return httpx.post(f"{system.url}/v1/chat/completions", content=body, headers=headers, timeout=60)


def still_serves(system: Running) -> None:
    assert send(system, json.dumps(GOOD).encode()).status_code == 200


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_its_status_and_openais_error_object(system: Running, name: str) -> None:
    body, status, code = BAD[name]
    response = send(system, body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["message"]
    assert error["type"]
    assert {"param", "code"} <= error.keys()
    if code is not None:
        assert error["code"] == code
    assert "Traceback" not in response.text


def test_decompression_bomb_is_refused_before_it_unfolds(system: Running) -> None:
    response = send(system, json.dumps(with_image(data_url(bomb()))).encode())
    assert response.status_code in (400, 413), response.text
    still_serves(system)


def test_body_of_50_mb_is_refused(system: Running) -> None:
    try:
        response = send(system, changed(user="x" * 50_000_000))
    except httpx.WriteError:
        pass  # the server answered and closed while we were still sending: as good a refusal
    else:
        assert response.status_code == 413
    still_serves(system)


def test_unknown_path_and_wrong_method_speak_the_same_language(system: Running) -> None:
    assert system.get("/v1/nope").status_code == 404
    assert system.get("/v1/nope").json()["error"]["message"]
    wrong = system.get("/v1/chat/completions")
    assert wrong.status_code == 405
    assert wrong.json()["error"]["message"]


def test_slow_loris_is_cut_off_and_disturbs_nobody(system: Running) -> None:
    where = urlsplit(system.url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as slow:
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-A: ")
        still_serves(system)
        began_s = time.monotonic()
        ended = slow.recv(4096)  # returns when the server gives up on us
        assert time.monotonic() - began_s < 25
        assert not ended or ended.startswith(b"HTTP/1.1 408")
    still_serves(system)


def test_service_is_unharmed_after_all_that(system: Running) -> None:
    still_serves(system)
    assert system.get("/health/ready").status_code == 200
