"""Keys: where they come from, that they may change, and that nobody ever sees them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.contracts.catalog import KeyRef
from services.contracts.errors import ComponentUnavailable, InvalidRequest, TurnoutError, UpstreamError
from services.llm_cloud.secret import Secret
from tests.services.llm_cloud.answers import hear
from tests.services.llm_cloud.conftest import Cloud
from tests.support.direct import chat
from tests.support.upstream import Behaviour, Upstream

KEY = "top+secret/value=1234567890"


def write(path: Path, text: str) -> None:
    """Replace a file as Kubernetes and editors do: at once, by another one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def test_a_key_comes_from_the_environment() -> None:
    assert Secret(KeyRef(env="K"), environ={"K": f" {KEY}\n"}).value() == KEY


@pytest.mark.parametrize("environ", [{}, {"K": ""}, {"K": "  "}])
def test_without_it_the_variable_is_named(environ: dict[str, str]) -> None:
    secret = Secret(KeyRef(env="K"), environ=environ)
    assert secret.value() is None
    assert secret.missing == "no key: environment variable K is not set"


@pytest.mark.parametrize("text", ["", "a\nb", "a b", "käse", "x" * 9000, "a\x00b"])
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    secret = Secret(KeyRef(file="key"), str(tmp_path))
    assert secret.value() is None
    assert "file key" in secret.missing


def test_no_key_section_needs_no_key() -> None:
    secret = Secret(None)
    assert (secret.value(), secret.missing) == (None, "")


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(KeyRef(env="K"), environ={"K": KEY})
    secret.value()
    assert KEY not in repr(secret)
    assert KEY not in str(secret)


@pytest.mark.parametrize(
    "text",
    [
        f"you sent {KEY}",
        "Bearer abcdef",
        "key sk-proj-abcdefgh12 is wrong",
        "sk-a***********bcd1",
        "AIzaSyAbcdefghijkl",
    ],
)
def test_keys_are_scrubbed_from_messages(text: str) -> None:
    secret = Secret(KeyRef(env="K"), environ={"K": KEY})
    secret.value()
    scrubbed = secret.scrub(text)
    assert "***" in scrubbed
    assert not any(part in scrubbed for part in (KEY, "abcdef", "bcd1", "Abcdef"))


def test_the_former_key_is_scrubbed_too(tmp_path: Path) -> None:
    secret = Secret(KeyRef(file="key"), str(tmp_path))
    for text in (KEY, "another-one"):
        write(tmp_path / "key", text)
        assert secret.value() == text
    assert secret.scrub(f"{KEY} another-one") == "*** ***"


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
async def test_the_key_is_sent_and_a_new_one_needs_no_restart(
    upstream: Upstream, cloud: Cloud, tmp_path: Path, protocol: str
) -> None:
    write(tmp_path / "key", "first-key\n")
    async with cloud(protocol=protocol, key={"file": "key"}, base_dir=str(tmp_path)) as direct:
        await hear(direct, chat("go"))
        write(tmp_path / "key", "second-key\n")
        await hear(direct, chat("go", stream=True))
    assert [r.used_key(k) for r, k in zip(upstream.requests, ("first-key", "second-key"), strict=True)] == [True, True]


async def test_without_a_key_section_nothing_is_sent(upstream: Upstream, cloud: Cloud) -> None:
    async with cloud() as direct:
        await hear(direct, chat("go"))
    assert upstream.requests[0].used_key("")


async def test_without_its_key_the_component_is_listed_and_waits_for_it(
    upstream: Upstream, cloud: Cloud, tmp_path: Path
) -> None:
    async with cloud(key={"file": "key"}, base_dir=str(tmp_path)) as direct:
        beat = direct.worker.beat()
        assert beat.state == "unconfigured"
        assert beat.detail == "no key: file key cannot be read: No such file or directory"
        with pytest.raises(ComponentUnavailable, match="no key"):
            await hear(direct, chat("go"))
        assert upstream.requests == []
        write(tmp_path / "key", KEY)
        assert direct.worker.beat().state == "ready"
        await hear(direct, chat("go"))
        (tmp_path / "key").unlink()
        assert direct.worker.beat().state == "unconfigured"
    assert upstream.requests[0].used_key(KEY)


async def test_an_unset_variable_is_named(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    async with cloud(key={"env": "NO_SUCH_KEY"}) as direct:
        beat = direct.worker.beat()
    assert (beat.state, beat.detail) == ("unconfigured", "no key: environment variable NO_SUCH_KEY is not set")


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (Behaviour(status=401, body={"error": {"message": f"bad key {KEY}"}}), ComponentUnavailable),
        (Behaviour(status=400, body={"error": {"message": f"bad key {KEY}", "param": "x"}}), InvalidRequest),
        (Behaviour(status=500, body={"error": {"message": f"Bearer {KEY}"}}), UpstreamError),
        (Behaviour(replace_body=f'{{"error": {{"message": "{KEY}"}}}}'.encode()), UpstreamError),
        (Behaviour(raw=f"HTTP/1.1 {KEY}\r\n\r\n".encode()), UpstreamError),
    ],
)
async def test_a_key_that_the_vendor_quotes_reaches_neither_error_nor_log(
    upstream: Upstream,
    cloud: Cloud,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    behaviour: Behaviour,
    error: type[TurnoutError],
) -> None:
    write(tmp_path / "key", KEY)
    upstream.always = behaviour
    async with cloud(key={"file": "key"}, base_dir=str(tmp_path), retries=1) as direct:
        for _ in range(6):
            with pytest.raises(TurnoutError) as caught:
                await hear(direct, chat("go"))
            assert KEY not in str(caught.value)
            assert caught.value.__cause__ is None
        assert KEY not in str(direct.worker.beat()), "nor the reason why it is left alone"
    assert upstream.requests[0].used_key(KEY)
    out, err = capfd.readouterr()
    assert "failed" in out + err
    assert KEY not in out + err


async def test_a_new_key_closes_the_circuit_that_the_old_one_opened(
    upstream: Upstream, cloud: Cloud, tmp_path: Path
) -> None:
    write(tmp_path / "key", "wrong")
    upstream.key = KEY
    async with cloud(key={"file": "key"}, base_dir=str(tmp_path)) as direct:
        for _ in range(5):
            with pytest.raises(ComponentUnavailable, match="refuses this server's key"):
                await hear(direct, chat("go"))
        assert direct.worker.beat().facts["circuit_open"] == 1.0
        write(tmp_path / "key", KEY)
        await hear(direct, chat("go"))
        assert direct.worker.beat().facts["circuit_open"] == 0.0


def test_the_file_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write(path, "one")
    secret = Secret(KeyRef(file="key"), str(tmp_path))
    assert secret.value() == "one"
    stamp = path.stat()
    with path.open("r+") as file:  # same inode, size and time: as far as anyone can tell, the same file
        file.write("two")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert secret.value() == "one"
    write(path, "three")
    assert (secret.value(), secret.version) == ("three", 2)
