"""`turnout check`, `schema`, `version`, `--help` and `up` with configurations that cannot be used."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter
from typer.testing import CliRunner

from router.predictor import SHIPPED
from services.contracts.catalog import Catalog
from services.contracts.catalog_file import load
from services.controller.cli import app
from services.controller.positions import line_of
from services.controller.schema import schema, text

ROOT = Path(__file__).resolve().parents[3]
GGUF = b"GGUF" + bytes(60)
SHA256 = hashlib.sha256(GGUF).hexdigest()


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def write(folder: Path, content: str) -> Path:
    path = folder / "turnout.yaml"
    path.write_text(content)
    return path


def test_the_shipped_configuration_is_good() -> None:
    code, output = run("check", ROOT / "turnout.yaml")
    assert code == 0, output
    assert output.startswith("ok\n")
    for name in load(ROOT / "turnout.yaml").components:
        assert name in output


BOMB = "a: &a [x]\nb: &b [*a, *a]\ncomponents: *b\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "components:\n  a:\n    kind: vision\n    slotss: 2\n",
            ":4:5: components.a.slotss: unknown key; did you mean `slots`",
        ),
        ("components:\n  a: {kind: vision}\n  a: {kind: vision}\n", ":3:3: `a` is given twice (first in line 2)"),
        (
            "components:\n  a:\n    kind: vision\n    slots: many\n",
            ":4:5: components.a.slots: Input should be a valid integer",
        ),
        (BOMB, "aliases are not accepted"),
        ("components:\n  a: {kind: telepathy}\n", ":2:"),
        ("components:\n  a: {kind: vision\n", ":3:1: "),
        ("components:\n  auto: {kind: vision}\n", "'auto'"),
        ("components:\n  router: {kind: vision}\n", "'router'"),
        ("components: {}\n", ":1:"),
        ("- 1\n", "must be a mapping"),
        ("", "turnout.yaml:1"),
        ("components:\n  a:\n    kind: vision\n    slots: .inf\n", ":4:5: components.a.slots"),
        ("components:\n  a: !!python/object/apply:os.system [id]\n", ":2:3: components.a: "),
        ("gateway:\n  port: 70000\ncomponents: {a: {kind: vision}}\n", ":2:3: gateway.port"),
        (
            "components:\n  vision:\n    kind: vision\n    slotss: 2\n",  # called as its kind is
            ":4:5: components.vision.slotss: unknown key; did you mean `slots`",
        ),
        ("components:\n  a: {kind: vision}\n# \x00\n", ":3: not valid YAML: character 0x0000 is not allowed"),
        ("components:\n  a:\n    kind: 2024-02-30\n", ":3:11: no valid timestamp"),
        ("components:\n  a:\n    kind: !!bool maybe\n", ":3:11: no valid bool"),
        ("components:\n  a:\n    kind: !!timestamp later\n", ":3:11: no valid timestamp"),
        (
            "router: {shadow: {componnt: a, share: 1}}\ncomponents: {a: {kind: vision}}\n",
            ":1:19: router.shadow.componnt: unknown key; did you mean `component`",
        ),
        (
            "gateway: {keys: {fil: a}}\ncomponents: {a: {kind: vision}}\n",
            ":1:18: gateway.keys.fil: unknown key; did you mean `file`",
        ),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path: Path, content: str, said: str) -> None:
    path = write(tmp_path, content)
    for command in (("check", path), ("up", "--config", path)):
        code, output = run(*command)
        assert code == 78
        assert f"{path}:" in output
        assert said in output
    assert not (tmp_path / ".turnout").exists()


@pytest.mark.parametrize(
    "content",
    [
        "components:\n  c: {kind: llm_cloud, model: m, key: sk-not-for-logs}\n",
        "components:\n  c: {kind: llm_cloud, model: m, key: {env: sk-not-for-logs}}\n",
        "components:\n  c: {kind: llm_cloud, model: m, key: {value: sk-not-for-logs}}\n",
        "gateway: {keys: sk-not-for-logs}\ncomponents: {a: {kind: vision}}\n",
        "gateway: {admin_keys: [sk-not-for-logs]}\ncomponents: {a: {kind: vision}}\n",
        "gateway: {admin_keys: {env: sk-not-for-logs}}\ncomponents: {a: {kind: vision}}\n",
    ],
)
def test_a_key_that_stands_where_its_place_should_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    code, output = run("check", write(tmp_path, content))
    assert code == 78
    assert "key" in output
    assert "not-for-logs" not in output


@pytest.mark.parametrize("param", ["keys", "admin_keys"])
def test_a_file_of_keys_must_hold_some(tmp_path: Path, param: str) -> None:
    path = write(tmp_path, f"gateway:\n  {param}: {{file: k}}\ncomponents: {{a: {{kind: vision}}}}\n")
    for content, said in (
        (None, "there is no file k"),
        (b"# later\n", "the file k holds no key"),
        (b"\xff", "the file k cannot be read: not UTF-8"),
    ):
        if content is not None:
            (tmp_path / "k").write_bytes(content)
        code, output = run("check", path)
        assert code == 78
        assert f":2: gateway: {param}: {said}" in output
    (tmp_path / "k").write_bytes(b"\xef\xbb\xbfone\r\n")
    assert run("check", path)[0] == 0


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    code, output = run(
        "check", write(tmp_path, "components:\n  a: {kind: vision, slots: 0}\n  b: {kind: vision, x: 1}\n")
    )
    assert code == 78
    assert len(output.splitlines()) == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    code, output = run("check", tmp_path / "no.yaml")
    assert (code, output) == (78, f"{tmp_path}/no.yaml:1: cannot be read: No such file or directory\n")


def local(source: str, sha256: str = SHA256) -> str:
    return f"components:\n  small:\n    kind: llm_local\n    source: {source}\n    sha256: '{sha256}'\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (local("file:missing.gguf"), ":4: components.small: source: there is no file"),
        (local("file:model.gguf", "0" * 64), ":5: components.small: sha256: the file"),
        (local("file:text.gguf"), ":4: components.small: source:"),
        (local("file:folder"), ":4: components.small: source:"),
        (local("nonsense"), ":4: components.small: source: must be"),
        (
            local("file:model.gguf") + f"    adapters: [{{source: 'file:a.gguf', sha256: '{SHA256}'}}]\n",
            ":6: components.small: adapters: number 1: source: there is no file",
        ),
        (local("pypi:no-such-package-here==1/x.gguf"), "is not installed: pip install no-such-package-here==1"),
        (local("pypi:pytest==0.0.1/x.gguf"), "not 0.0.1"),
        ("router:\n  predictor: p.npz\ncomponents: {a: {kind: vision}}\n", ":2: router: predictor: there is no file"),
        ("components:\n  d:\n    kind: retrieval\n    path: text.gguf\n", ":4: components.d: path:"),
    ],
)
def test_files_that_are_not_what_they_should_be(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "model.gguf").write_bytes(GGUF)
    (tmp_path / "text.gguf").write_text("hello")
    (tmp_path / "folder").mkdir()
    code, output = run("check", write(tmp_path, content))
    assert code == 78
    assert said in output


def test_a_file_that_is_no_predictor_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "good.npz").write_bytes(SHIPPED.read_bytes())
    (tmp_path / "bad.npz").write_bytes(SHIPPED.read_bytes()[:-1000])
    content = "router:\n  predictor: {}.npz\ncomponents: {{a: {{kind: vision}}}}\n"
    assert run("check", write(tmp_path, content.format("good")))[0] == 0
    code, output = run("check", write(tmp_path, content.format("bad")))
    assert code == 78
    assert ":2: router: predictor: " in output
    assert "bad.npz: not a predictor" in output


def test_a_good_model_file_and_one_of_a_hub_pass(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(GGUF)
    assert run("check", write(tmp_path, local("file:model.gguf")))[0] == 0
    code, output = run("check", write(tmp_path, local("hf://o/r/f.gguf@main")))
    assert code == 0
    assert "fetched at its first start" in output


def test_the_note_says_which_key_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "components:\n  c: {kind: llm_cloud, model: m, key: {env: SOME_KEY}}\n")
    monkeypatch.delenv("SOME_KEY", raising=False)
    assert "SOME_KEY is not set" in run("check", path)[1]
    monkeypatch.setenv("SOME_KEY", "x")
    assert "SOME_KEY" not in run("check", path)[1]


SECTIONS = """\
gateway:
  keys: {file: k}
components:
  small:
    kind: llm_local
    source: file:x.gguf
    sha256: "00"
  last:
    kind: vision
"""


@pytest.mark.parametrize(
    ("component", "reason", "line"),
    [
        ("small", "something else", 4),
        ("small", "file:x.gguf: there is no file /x.gguf. Put the model there, or change `source`.", 6),
        ("small", "file:x.gguf: this is not the file. sha256 expected 0, got 1.", 7),
        ("small", "/x.gguf: not a usable GGUF file: it is truncated. Fetch it again, or change `source`.", 6),
        ("small", "is installed, not 2. Run pip, or change `source` and `sha256`.", 6),
        ("last", "kind", 8),
        ("gateway", "gateway.keys: file k cannot be read", 2),
        ("router", "predictor.npz is gone", 1),
        ("unknown", "", 1),
    ],
)
def test_the_line_is_that_of_what_is_to_blame(tmp_path: Path, component: str, reason: str, line: int) -> None:
    assert line_of(write(tmp_path, SECTIONS), component, reason) == line


def test_the_line_of_a_file_that_is_being_edited_is_the_first(tmp_path: Path) -> None:
    assert line_of(write(tmp_path, "a: ["), "a") == 1
    assert line_of(tmp_path / "gone", "a") == 1


def test_the_committed_schema_is_the_generated_one() -> None:
    assert (ROOT / "turnout.schema.json").read_text() == text(), "run `make schema`"


def test_the_schema_accepts_the_shipped_configuration_and_no_typo() -> None:
    raw = yaml.safe_load((ROOT / "turnout.yaml").read_text())
    assert set(raw) <= set(schema()["properties"])
    assert schema()["additionalProperties"] is False
    defs = schema()["$defs"]
    kinds = {d["properties"]["kind"]["const"]: d for d in defs.values() if "kind" in d.get("properties", {})}
    for section in raw["components"].values():
        assert set(section) <= set(kinds[section["kind"]]["properties"])
        assert set(kinds[section["kind"]]["required"]) <= set(section)
    assert TypeAdapter(Catalog).validate_python(raw) == load(ROOT / "turnout.yaml")


def test_help_teaches_with_examples_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; from services.controller.cli import app\n"
        "try: app(['--help'])\n"
        "finally: print('loaded', sorted({'pydantic', 'nats', 'httpx', 'services.contracts'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert "turnout up" in done.stdout
    for command in ("up", "status", "ask", "ingest", "check"):
        assert command in done.stdout
        code, output = run(command, "--help")
        assert code == 0
        assert f"turnout {command}" in output


def test_version() -> None:
    assert run("version")[1].startswith("turnout ")


def test_a_port_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNOUT_PORT", "80x")
    code, output = run("up", "--config", write(tmp_path, "components: {a: {kind: vision}}\n"))
    assert code == 78
    assert "TURNOUT_PORT must be a number" in output


def test_a_host_that_is_not_of_this_machine_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "gateway: {host: 192.0.2.1}\ncomponents: {a: {kind: vision}}\n")
    code, output = run("up", "--config", path, "--port", "0")
    assert code == 78
    assert "192.0.2.1" in output
