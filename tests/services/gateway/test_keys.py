from __future__ import annotations

from pathlib import Path

import openai
import pytest

from services.contracts.errors import ConfigError
from services.gateway.state import State, tenant_of
from tests.services.gateway.support import catalog, front


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text("# the team\nsk-one\n\n  sk-two  \n")
    return file


async def test_a_known_key_enters_and_names_its_tenant(keys: Path) -> None:
    async with front(snapshot=catalog(keys={"file": str(keys)})) as gate:
        for key in ("sk-one", "sk-two"):
            await gate.openai(key).chat.completions.create(model="auto", messages=[{"role": "user", "content": "?"}])
        tenants = [task.tenant for task in gate.router.tasks]
    assert tenants == [tenant_of(b"sk-one"), tenant_of(b"sk-two")]
    assert "sk-one" not in tenants[0]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer sk-thre", "Bearer sk-one2", "Basic sk-one"])
async def test_everyone_else_is_a_401(keys: Path, header: str | None) -> None:
    async with front(snapshot=catalog(keys={"file": str(keys)})) as gate, gate.http() as client:
        headers = {} if header is None else {"authorization": header}
        for path in ("/v1/models", "/metrics", "/v1/status", "/v1/decisions/" + "0" * 32, "/nowhere"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await client.get("/health/live", headers=headers)).status_code == 200
        assert (await client.get("/health/ready", headers=headers)).status_code == 200


async def test_a_key_at_the_other_door_is_told_which_one_it_opens(keys: Path, tmp_path: Path) -> None:
    admins = tmp_path / "admins"
    admins.write_text("sk-admin")
    places = {"keys": {"file": str(keys)}, "admin_keys": {"file": str(admins)}}
    async with front(snapshot=catalog(**places)) as gate, gate.http() as client:
        for path, key, said in (
            ("/v1/status", "sk-admin", "this key opens /admin/ alone"),
            ("/admin/catalog", "sk-one", "this key does not open /admin/"),
            ("/v1/status", "sk-else", "incorrect API key"),
            ("/admin/catalog", "sk-else", "incorrect API key"),
        ):
            answer = await client.get(path, headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == 401
            assert answer.json()["error"]["message"].startswith(said)


async def test_the_official_client_sees_an_authentication_error(keys: Path) -> None:
    async with front(snapshot=catalog(keys={"file": str(keys)})) as gate:
        with pytest.raises(openai.AuthenticationError):
            await gate.openai("wrong").models.list()


async def test_keys_are_reloaded_when_their_file_changes(keys: Path) -> None:
    async with front(snapshot=catalog(keys={"file": str(keys)})) as gate, gate.http() as client:
        keys.write_text("sk-new")
        await gate.edge.live.refresh()
        new, old = [
            await client.get("/v1/models", headers={"authorization": f"Bearer {key}"}) for key in ("sk-new", "sk-one")
        ]
        assert (new.status_code, old.status_code) == (200, 401)
        keys.unlink()
        await gate.edge.live.refresh()  # unreadable for a moment: the keys in force stay
        assert (await client.get("/v1/models", headers={"authorization": "Bearer sk-new"})).status_code == 200


def test_keys_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_KEYS", "a\nb")
    assert len(State.of(catalog(keys={"env": "GATE_KEYS"})).tenants or {}) == 2
    assert State.of(catalog()).tenants is None


@pytest.mark.parametrize("content", [None, b"", b"# only a comment\n", b"\xff\xfe"])
def test_a_place_without_keys_is_refused_at_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"gateway\.keys"):
        State.of(catalog(keys={"file": str(file)}))
    with pytest.raises(ConfigError, match="GATE_NONE"):
        State.of(catalog(keys={"env": "GATE_NONE"}))
