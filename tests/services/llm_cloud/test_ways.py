"""The ways to an upstream other than plain HTTP: TLS, and a proxy that the environment names."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.contracts.errors import ComponentTimeout, ComponentUnavailable, UpstreamError
from tests.services.llm_cloud.answers import hear
from tests.services.llm_cloud.conftest import Cloud
from tests.support.direct import chat
from tests.support.upstream import GOOD, Behaviour, Upstream, running_upstream


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("no openssl program to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    make = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    about = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*make, *about], check=True, capture_output=True, timeout=30)
    both.write_text(key.read_text() + cert.read_text())
    return both


@pytest.fixture
def secure(certificate: Path) -> Iterator[Upstream]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with running_upstream(context) as server:
        yield server


async def test_https_with_a_certificate_that_is_trusted(
    secure: Upstream, cloud: Cloud, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with cloud(base_url=secure.base_url) as direct:
        for stream in (False, True, False):
            assert (await hear(direct, chat("go", stream=stream))).text == "All is well here."
            await direct.at_rest()
    assert secure.connections == 1


async def test_https_with_a_certificate_that_is_not_trusted_is_refused(secure: Upstream, cloud: Cloud) -> None:
    async with cloud(base_url=secure.base_url) as direct:
        with pytest.raises(ComponentUnavailable, match="certificate is not trusted"):
            await hear(direct, chat("go"))
    assert secure.requests == []


@pytest.fixture
def proxied(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """`upstream` as the proxy that answers for a vendor nobody could reach directly."""
    monkeypatch.setenv("http_proxy", upstream.base_url.removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return upstream


VENDOR = "http://vendor.invalid/v1"


async def test_through_a_proxy(proxied: Upstream, cloud: Cloud) -> None:
    async with cloud(base_url=VENDOR) as direct:
        for stream in (False, True):
            assert (await hear(direct, chat("go", stream=stream))).text == "All is well here."
            await direct.at_rest()
    assert {r.path for r in proxied.requests} == {f"{VENDOR}/chat/completions"}
    assert proxied.connections == 1


async def test_failures_behind_a_proxy_are_mapped_alike(proxied: Upstream, cloud: Cloud) -> None:
    proxied.script(
        Behaviour(cut_before=True),
        GOOD,
        Behaviour(cut_after=2),
        Behaviour(raw=b"SSH-2.0\r\n\r\n"),
        Behaviour(stall_after=1),
    )
    async with cloud(base_url=VENDOR, retries=1, read_timeout_s=0.3) as direct:
        assert (await hear(direct, chat("retried"))).text == "All is well here."
        with pytest.raises(UpstreamError):
            await hear(direct, chat("cut", stream=True))
        assert (await hear(direct, chat("retried", stream=False))).finished.reason == "stop"
        proxied.script(Behaviour(stall_after=1))
        with pytest.raises(ComponentTimeout):
            await hear(direct, chat("stalled", stream=True))
        assert await asyncio.to_thread(proxied.requests[-1].left.wait, 5)
