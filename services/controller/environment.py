"""What a child may see of the parent's environment: what programs need to run, and no secret that is not its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.contracts.catalog import Catalog, LlmCloud, LlmLocal
from services.contracts.keeper import Instance
from services.controller.modules import GATEWAY

_NAMES = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "NO_COLOR"),
        *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD", "SYSTEMROOT"),
        *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HF_HOME", "HF_ENDPOINT"),
    }
)
_PREFIXES = (
    "TURNOUT_",
    "LC_",
    "SSL_",
    "PYTHON",
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "GGML_",
    "CUDA_",
    "XDG_",
    "OTEL_",
    "MALLOC_",
)
_SUFFIXES = ("_PROXY", "_proxy")
_CLIENT_ONLY = frozenset({"TURNOUT_API_KEY", "TURNOUT_URL"})  # what `turnout ask` uses to get in from outside
_HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class Settings:
    """What every child is told.

    Attributes:
        nats_url: with its password; that is why it goes by environment and not by argument.
        port: where the gateway listens.
        drain_s: how long running requests may go on after SIGTERM.
    """

    nats_url: str
    port: int
    drain_s: float


def child_environment(
    parent: Mapping[str, str], catalog: Catalog, instance: Instance, settings: Settings
) -> dict[str, str]:
    """The whole environment of one instance. Pure."""
    secrets = _secrets(catalog)
    own = secrets.get(instance.component, frozenset())
    others = frozenset({_HUB_TOKEN}).union(*secrets.values()) - own
    withheld = (others | _CLIENT_ONLY - own) - _NAMES
    environment = {
        name: value for name, value in parent.items() if name not in withheld and (name in own or _harmless(name))
    }
    environment |= {
        "TURNOUT_NATS_URL": settings.nats_url,
        "TURNOUT_COMPONENT": instance.component,
        "TURNOUT_INSTANCE": instance.name,
        "TURNOUT_GENERATION": str(instance.generation),
        "TURNOUT_DRAIN_S": f"{settings.drain_s:g}",
        "TURNOUT_LOG_FORMAT": "json",  # the parent reads the lines and shows them in the form the user asked for
        "PYTHONUNBUFFERED": "1",  # a line that is still in a buffer when its process dies is the one that is missed
    }
    environment.pop("TURNOUT_STANDBY", None)
    if instance.standby:
        environment["TURNOUT_STANDBY"] = "1"
    if instance.component == GATEWAY:
        environment["TURNOUT_PORT"] = str(settings.port)
    return environment


def _harmless(name: str) -> bool:
    return name in _NAMES or name.startswith(_PREFIXES) or name.endswith(_SUFFIXES)


def _secrets(catalog: Catalog) -> dict[str, frozenset[str]]:
    """For each component, the names of the variables that hold its keys."""
    found: dict[str, frozenset[str]] = {}
    edge = (catalog.gateway.keys, catalog.gateway.admin_keys)
    found[GATEWAY] = frozenset(key.env for key in edge if key is not None and key.env is not None)
    for name, spec in catalog.components.items():
        if isinstance(spec, LlmCloud) and spec.key is not None and spec.key.env is not None:
            found[name] = frozenset({spec.key.env})
        elif isinstance(spec, LlmLocal):
            sources = (spec.source, *(adapter.source for adapter in spec.adapters))
            if any(source.startswith("hf://") for source in sources):
                found[name] = frozenset({_HUB_TOKEN})
    return found
