"""A vendor's server in a container of its own: OpenAI's chat completions, plain and streamed. Standard library only."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("All", " is", " well", " in", " the", " cloud", ".")


class Vendor(BaseHTTPRequestHandler):
    """Answers every question alike, with the key it was asked with."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.headers.get("authorization", "").startswith("Bearer sk-"):
            self._send("application/json", [json.dumps({"error": {"message": "no key"}})], 401)
        elif body.get("stream"):
            chunks = [_chunk({"content": word}) for word in WORDS]
            usage = {"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}
            chunks += [_chunk({}, "stop"), usage]
            self._send("text/event-stream", [f"data: {json.dumps(c)}\n\n" for c in chunks] + ["data: [DONE]\n\n"])
        else:
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {
                "id": "x",
                "object": "chat.completion",
                "model": "mock-large",
                "choices": [choice],
                "usage": _USAGE,
            }
            self._send("application/json", [json.dumps(answer)])

    def _send(self, kind: str, parts: list[str], status: int = 200) -> None:
        data = "".join(parts).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


_USAGE = {"prompt_tokens": 9, "completion_tokens": len(WORDS), "total_tokens": 9 + len(WORDS)}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "model": "mock-large", "choices": [choice]}


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8000), Vendor).serve_forever()  # noqa: S104 - reachable by other containers
