"""`status`, `ask` and `ingest` against a real HTTP server whose answers the test chooses."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stamina
from rich.console import Console
from typer.testing import CliRunner, Result

from services.contracts.errors import TurnoutError
from services.controller.ask import Answered, events, last_line, texts
from services.controller.cli import app
from services.controller.client import Client
from services.controller.ingest import Summary, search
from services.controller.status import duration, table, watch
from tests.support.running import eventually, free_port


@dataclass
class Server:
    """Answers every request with what `answer` returns: (status, body, headers)."""

    url: str = ""
    answer: Callable[[str, bytes], tuple[int, bytes, dict[str, str]]] = lambda _path, _body: (404, b"", {})
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def run(self, *arguments: str, input: str | None = None) -> Result:  # noqa: A002 - the runner's word
        return CliRunner().invoke(app, [*arguments, "--url", self.url], input=input)

    def json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self.answer = lambda _path, _body: (status, json.dumps(body).encode(), headers or {})


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            found.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status, answer, headers = found.answer(self.path, body)
            self.send_response(status)
            for name, value in {"content-length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PUT = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None: ...

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    yield found
    httpd.shutdown()
    httpd.server_close()
    thread.join(5)


def sse(*objects: dict[str, Any], done: bool = True) -> bytes:
    lines = [b"data: " + json.dumps(one, ensure_ascii=False).encode() + b"\n\n" for one in objects]
    return b"".join(lines) + (b"data: [DONE]\n\n" if done else b"")


def chunk(text: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}]}


END = {
    "choices": [],
    "usage": {},
    "turnout": {
        "component": "docs",
        "model": "e5",
        "cost_usd": 0.00012,
        "sources": [{"source": "a.md"}, {"source": "b.pdf", "page": 3}, {"source": "a.md"}],
        "degraded": "nobody reaches 0.9",
    },
}


def test_ask_streams_the_answer_and_says_where_it_came_from(server: Server) -> None:
    server.answer = lambda _path, _body: (200, sse(chunk("He"), chunk("llo\u2028!"), END), {})
    result = server.run("ask", "hi", "--model", "docs", "--quality", "0.9", "--max-cost", "0.5", "--privacy", "local")
    assert result.exit_code == 0, result.output
    assert result.stdout == "Hello\u2028!\n"
    assert "docs (e5) \u00b7 $0.000120 \u00b7 " in result.stderr
    assert "cut off" not in result.stderr
    assert "from a.md, b.pdf p. 3 \u00b7 degraded: nobody reaches 0.9" in result.stderr
    sent = json.loads(server.requests[0][2])
    assert sent["model"] == "docs"
    assert sent["turnout"] == {"quality": 0.9, "max_cost_usd": 0.5, "privacy": "local"}
    assert sent["stream"]


def test_ask_says_when_the_answer_is_cut_off(server: Server) -> None:
    end = {"choices": [{"delta": {}, "finish_reason": "length"}]}
    server.answer = lambda _path, _body: (200, sse(chunk("On and"), end, END), {})
    result = server.run("ask", "hi", "--max-tokens", "2")
    assert "cut off at its longest" in result.stderr
    assert json.loads(server.requests[0][2])["max_tokens"] == 2


def test_ask_reads_standard_input_and_sends_images(server: Server, tmp_path: Path) -> None:
    server.answer = lambda _path, _body: (200, sse(chunk("ok"), END), {})
    image = tmp_path / "x.png"
    image.write_bytes(b"\x89PNG")
    assert server.run("ask", "-", "--image", str(image), input="from a pipe").exit_code == 0
    (text, picture) = json.loads(server.requests[0][2])["messages"][0]["content"]
    assert text["text"] == "from a pipe"
    assert picture["image_url"]["url"] == "data:image/png;base64,iVBORw=="


def test_ask_sends_the_key_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_API_KEY", "secret")
    server.json(200, {"choices": []})
    assert server.run("ask", "hi", "--json").exit_code == 0
    assert server.requests[0][1]["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (sse(chunk("Hel"), {"error": {"message": "the component died"}}, done=False), "the component died"),
        (sse(chunk("Hel"), done=False), "the answer broke off"),
        (b"data: {broken\n\n", "not readable"),
    ],
)
def test_an_answer_that_breaks_off_is_an_error(server: Server, body: bytes, message: str) -> None:
    server.answer = lambda _path, _body: (200, body, {})
    result = server.run("ask", "hi")
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_key_that_is_there_is_not_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.json(401, {"error": {"message": "no such key"}})
    assert server.run("status").stderr == "no such key (put the key into TURNOUT_API_KEY)\n"
    monkeypatch.setenv("TURNOUT_API_KEY", "secret")
    assert server.run("status").stderr == "no such key (TURNOUT_API_KEY holds the key that was sent)\n"


def test_the_gateways_own_words_are_shown(server: Server) -> None:
    server.json(429, {"error": {"message": "all slots are busy"}}, {"retry-after": "3"})
    result = server.run("ask", "hi")
    assert (result.exit_code, result.stderr) == (1, "all slots are busy (try again in 3 s) [429]\n")
    server.json(401, {"error": {"message": "no key"}})
    assert "TURNOUT_API_KEY" in server.run("status").stderr


@pytest.mark.parametrize(
    "command", [["status"], ["ask", "hi"], ["ingest", __file__.replace("test_client_commands.py", "x.md")]]
)
def test_without_a_server_it_says_how_to_start_one(command: list[str], tmp_path: Path) -> None:
    if command[0] == "ingest":
        (tmp_path / "x.md").write_text("x")
        command = ["ingest", str(tmp_path)]
    result = CliRunner().invoke(app, [*command, "--url", f"http://127.0.0.1:{free_port()}"])
    assert result.exit_code == 1
    assert "start it with `turnout up`" in result.stderr


def test_events_are_read_whatever_the_pieces() -> None:
    whole = sse(chunk("a\u2028b"), END)
    found = list(events(whole[i : i + 1] for i in range(len(whole))))
    assert found == [chunk("a\u2028b"), END]
    with pytest.raises(TurnoutError, match="broke off"):
        list(events([whole[:-20]]))


def test_the_last_line_stands_with_little_to_say() -> None:
    answered = Answered()
    assert list(texts([chunk("x")], answered)) == ["x"]
    assert last_line(answered, 1.0) == "unknown \u00b7 $0.000000 \u00b7 1.0 s"


def receipt(path: str, _body: bytes) -> tuple[int, bytes, dict[str, str]]:
    (source,) = parse_qs(urlsplit(path).query)["source"]
    if "broken" in source:
        return 200, json.dumps({"documents": [], "refused": [[source, "not a PDF"]]}).encode(), {}
    if "huge" in source:
        return 413, json.dumps({"error": {"message": "larger than 5 bytes"}}).encode(), {}
    return 200, json.dumps({"documents": [[source, 2]], "refused": []}).encode(), {}


def test_ingest_takes_folders_and_reports_what_was_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("a.md", "deep/b & c.HTML", "broken.pdf", "huge.txt", "photo.jpg", ".hidden/x.md", ".x.md"):
        (folder / name).write_text("text")
    server.answer = receipt
    result = server.run("ingest", "docs", "nowhere.md", "docs/photo.jpg")
    assert result.exit_code == 1
    assert result.stdout == "2 documents, 4 passages\n"
    for line in (
        "1 files of other kinds were left out",
        "refused docs/broken.pdf: not a PDF",
        "refused docs/huge.txt: larger than 5 bytes",
        "refused nowhere.md: no such file",
        "refused docs/photo.jpg: of a kind",
    ):
        assert line in result.stderr
    sent = {
        parse_qs(urlsplit(path).query)["source"][0]: headers["content-type"] for path, headers, _ in server.requests
    }
    assert sent["docs/deep/b & c.HTML"] == "text/html"
    assert sent["docs/a.md"] == "text/markdown"


def busy(status: int, retry_after: str | None) -> tuple[int, bytes, dict[str, str]]:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return status, json.dumps({"error": {"message": "[all] slots are busy"}}).encode(), headers


def documents(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("text")


@pytest.mark.parametrize("status", [429, 503])
def test_ingest_waits_as_long_as_it_is_told_and_sends_the_document_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    documents(tmp_path, "a.md", "b.md")
    came_s: list[float] = []

    def answer(path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        came_s.append(time.monotonic())
        return busy(status, "1") if len(came_s) == 1 else receipt(path, body)

    server.answer = answer
    result = server.run("ingest", "a.md", "b.md")
    assert (result.exit_code, result.stdout) == (0, "2 documents, 4 passages\n"), result.output
    assert "waiting 1 s to send a.md again (try 2): [all] slots are busy\n" in result.stderr
    assert [parse_qs(urlsplit(path).query)["source"][0] for path, _, _ in server.requests] == ["a.md", "a.md", "b.md"]
    assert {body for _, _, body in server.requests} == {b"text"}
    assert came_s[1] - came_s[0] >= 1


def test_ingest_without_advice_waits_by_its_own_measure(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    documents(tmp_path, "a.md")
    answers = iter([busy(503, None), busy(429, "Wed, 21 Oct 2015 07:28:00 GMT")])
    server.answer = lambda path, body: next(answers, receipt(path, body))
    with stamina.set_testing(True, attempts=10):
        result = server.run("ingest", "a.md")
    assert (result.exit_code, len(server.requests)) == (0, 3), result.output


@pytest.mark.parametrize(("retry_after", "tries"), [("0", 10), ("3600", 1)])
def test_ingest_gives_up_in_the_end_and_names_what_was_not_taken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry_after: str, tries: int
) -> None:
    monkeypatch.chdir(tmp_path)
    documents(tmp_path, "a.md", "b.md", "c.md")
    server.answer = lambda path, body: receipt(path, body) if "a.md" in path else busy(503, retry_after)
    result = server.run("ingest", "a.md", "b.md", "c.md")
    assert (result.exit_code, result.stdout) == (1, "1 documents, 2 passages\n"), result.output
    assert "not taken b.md\nnot taken c.md\n2 of 3 documents were not taken: [all] slots are busy. Run" in result.stderr
    assert len(server.requests) == 1 + tries
    assert result.stderr.count("waiting") == tries - 1


def test_documents_from_elsewhere_are_named_from_the_given_folder_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.md").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    assert [found.source for found in search([tmp_path / "there"], Summary())] == ["there/a.md"]
    assert [found.source for found in search([tmp_path / "there" / "a.md"], Summary())] == ["a.md"]


STATUS = {
    "revision": 7,
    "components": [
        {
            "name": "small",
            "kind": "llm_local",
            "enabled": True,
            "instances": [
                {
                    "instance": "small-1",
                    "state": "ready",
                    "model": "Smol",
                    "slots": 4,
                    "in_use": 1,
                    "queued": 2,
                    "queue_max": 32,
                    "started_s": 100.0,
                    "totals": {"requests": 1234, "output_tokens": 99, "cost_usd": 0.5},
                }
            ],
        },
        {"name": "off", "kind": "vision", "enabled": False, "instances": []},
        {"name": "dead", "kind": "vision", "enabled": True, "instances": []},
    ],
}


def test_the_table_shows_each_instance_and_what_does_not_run() -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table(STATUS, now_s=165.0))
    text = captured.get()
    for cell in ("small-1", "ready", "Smol", "1/4", "2/32", "1,234", "99", "0.500000", "1 min 5 s", "revision 7"):
        assert cell in text
    assert "switched off" in text
    assert "not running" in text


def test_status_as_json_is_what_the_gateway_said(server: Server) -> None:
    server.json(200, STATUS)
    assert json.loads(server.run("status", "--json").stdout) == STATUS


def test_the_table_says_what_drains_for_how_long_and_what_is_on_trial() -> None:
    leaving = {"instance": "small-1", "generation": 1, "state": "draining", "since_s": 100.0}
    trying = {"instance": "small-2", "generation": 2, "state": "ready", "share": 0.1}
    shown = {"revision": 7, "components": [{"name": "small", "kind": "llm_local", "instances": [leaving, trying]}]}
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table(shown, now_s=165.0))
    assert "draining for 1 min 5 s" in captured.get()
    assert "ready, takes 10%" in captured.get()


def test_watching_shows_what_changes_and_outlives_a_gateway_that_is_away(server: Server) -> None:
    later = json.loads(json.dumps(STATUS).replace("Smol", "Other"))
    answers = iter([(200, STATUS), (200, later), (503, {"error": {"message": "not now"}}), (200, STATUS)])

    def answer(_path: str, _body: bytes) -> tuple[int, bytes, dict[str, str]]:
        status, body = next(answers)
        return status, json.dumps(body).encode(), {}

    server.answer = answer
    screen = io.StringIO()
    shown: list[str] = []

    def pause(_seconds: float) -> None:
        shown.append(screen.getvalue())
        screen.truncate(0)
        if len(shown) == 4:
            raise KeyboardInterrupt

    console = Console(file=screen, width=200, force_terminal=True)
    assert watch(Client(server.url), console, pause) == 0
    assert "Other" not in shown[0]
    assert "Other" in shown[1]
    assert "not now" in shown[2]
    assert "Other" in shown[2]
    assert "Smol" in shown[3]
    assert "not now" not in shown[3]


def test_ctrl_c_ends_the_watching_without_a_traceback(server: Server) -> None:
    server.json(200, STATUS)
    # A shell that runs the tests in the background has SIGINT ignored in all of them.
    begin = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    begin += "from services.controller.cli import main; main()"
    command = [sys.executable, "-c", begin, "status", "--watch", "--url", server.url]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: len(server.requests) >= 2, 60, "a second look")
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=30)
        assert (watching.returncode, said) == (0, "")
    finally:
        watching.kill()
        watching.wait()


def test_any_name_of_a_file_can_be_sent(server: Server, tmp_path: Path) -> None:
    server.json(200, {"revision": 8, "changes": ["~ a"], "swap_s": 2.5, "load_s": 2.25})
    file = tmp_path / "n\new \u00e9.yaml"
    file.write_text("components: {a: {kind: vision}}\n")
    assert server.run("apply", str(file)).exit_code == 0
    assert server.requests[0][1]["x-turnout-file"].endswith("n?ew ?.yaml")


def test_an_apply_says_what_is_in_force_or_what_is_tried_first(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("components: {eyes: {kind: vision}}")
    done = {"revision": 8, "changes": ["~ eyes.slots: 1 -> 2 (new instances)"], "swap_s": 2.5, "load_s": 2.25}
    server.json(200, done)
    assert "revision 8 is in force, 2.5 s (0.25 s beyond loading)" in server.run("apply", str(file)).stdout
    server.json(200, done | {"revision": 7, "trial": "on trial: eyes takes 10% of its requests"})
    said = server.run("apply", str(file)).stdout
    assert "on trial: eyes takes 10% of its requests; revision 7 stays in force until then" in said


def test_something_else_on_the_port_is_noticed(server: Server) -> None:
    server.answer = lambda _path, _body: (200, b"<html>", {})
    result = server.run("status")
    assert result.exit_code == 1
    assert "is no Turnout" in result.stderr


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (59.9, "59 s"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
