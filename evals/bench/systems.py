"""What is measured: the mock alone, Turnout in front of it, LiteLLM's proxy in front of it, each as child processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from evals.bench.children import BenchError, await_ready, child, clean_environment, free_port
from evals.bench.mock_upstream import MODEL, USAGE, WORDS
from evals.bench.samples import LITELLM, MOCK, TURNOUT, TURNOUT_AUTO

KEY_VARIABLE = "TURNOUT_BENCH_KEY"
COMPONENT = "cloud"
_START_TIMEOUT_S = 240.0  # LiteLLM's first start compiles its own sources
_ANSWER = "".join(WORDS).strip()
_PRICE_IN_USD_PER_MTOK, _PRICE_OUT_USD_PER_MTOK = 1.0, 4.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class System:
    """One way to the upstream's answer. `pid` is the root of its processes."""

    name: str
    url: str
    model: str
    pid: int

    def check(self, key: str) -> int:
        """Ask once; returns how many bytes a good answer has.

        Raises:
            BenchError: the answer is not the upstream's.
        """
        request = {"model": self.model, "messages": [{"role": "user", "content": "Summarise the report."}]}
        headers = {"authorization": f"Bearer {key}"}
        try:
            with httpx.Client(trust_env=False, timeout=60.0, headers=headers) as client:
                response = client.post(f"{self.url}/v1/chat/completions", json=request)
        except httpx.HTTPError as error:
            raise BenchError(f"{self.name}: {type(error).__name__}: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise BenchError(f"{self.name} answers with {response.status_code}: {response.text[:500]}")
        answer = response.json()
        choice, usage = answer["choices"][0], answer["usage"]
        if (choice["message"]["content"], choice["finish_reason"]) != (_ANSWER, "stop"):
            raise BenchError(f"{self.name} gives another answer than the upstream: {response.text[:500]}")
        if any(usage[name] != count for name, count in USAGE.items()):
            raise BenchError(f"{self.name} counts other tokens than the upstream: {usage}")
        return len(response.content)


@contextmanager
def mock(folder: Path, tell: Tell) -> Iterator[System]:
    """The upstream."""
    port, log = free_port(), folder / "mock.log"
    command = (sys.executable, "-m", "evals.bench.mock_upstream", "--port", str(port))
    with child(command, log, clean_environment()) as process:
        url = f"http://127.0.0.1:{port}"
        await_ready(process, f"{url}/v1/models", log, _START_TIMEOUT_S, _ticker(tell, "the mock upstream"))
        yield System(MOCK, url, MODEL, process.pid)


@contextmanager
def turnout(folder: Path, upstream: str, key: str, tell: Tell) -> Iterator[list[System]]:
    """The whole system with one component: asked for by its name, and left to the router."""
    port, log, config = free_port(), folder / "turnout.log", folder / "turnout.yaml"
    config.write_text(yaml.safe_dump(turnout_config(upstream), sort_keys=False))
    binary = Path(sys.executable).with_name("turnout")
    if not binary.exists():
        raise BenchError(f"there is no {binary}: `make run` or `make test` sets the environment up")
    command = (binary, "up", "--config", config, "--port", str(port), "--state-dir", folder / "state")
    with child(command, log, clean_environment(**{KEY_VARIABLE: key})) as process:
        url = f"http://127.0.0.1:{port}"
        await_ready(process, f"{url}/health/ready", log, _START_TIMEOUT_S, _ticker(tell, "Turnout"))
        yield [System(TURNOUT, url, COMPONENT, process.pid), System(TURNOUT_AUTO, url, "auto", process.pid)]


@contextmanager
def litellm(folder: Path, binary: Path, workers: int, upstream: str, key: str, tell: Tell) -> Iterator[System]:
    """LiteLLM's proxy with so many worker processes."""
    name = f"{LITELLM} {workers}w"
    port, log, config = free_port(), folder / f"litellm-{workers}.log", folder / "litellm.yaml"
    config.write_text(yaml.safe_dump(litellm_config(upstream), sort_keys=False))
    command = (
        *(binary, "--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", str(workers)),
        *(("--timeout_worker_healthcheck", "120") if workers > 1 else ()),  # its default kills workers that load slowly
    )
    with child(command, log, clean_environment(LITELLM_MASTER_KEY=key, **LITELLM_ENVIRONMENT)) as process:
        url = f"http://127.0.0.1:{port}"
        ready = f"{url}/health/liveliness"
        await_ready(process, ready, log, _START_TIMEOUT_S, _ticker(tell, f"LiteLLM with {workers} worker(s)"))
        yield System(name, url, COMPONENT, process.pid)


LITELLM_ENVIRONMENT = {
    # Production mode, errors only, and nothing fetched from the network at the start.
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "NO_DOCS": "True",
    "LITELLM_DONT_SHOW_FEEDBACK_BOX": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
}


def litellm_config(upstream: str) -> dict[str, Any]:
    """Its benchmark configuration: no database, no callbacks, no retries, no spend log. The price is Turnout's.

    Source: https://docs.litellm.ai/docs/benchmarks and https://docs.litellm.ai/docs/proxy/prod
    """
    parameters = {
        "model": f"openai/{MODEL}",
        "api_base": f"{upstream}/v1",
        "api_key": "none",
        "input_cost_per_token": _PRICE_IN_USD_PER_MTOK / 1e6,
        "output_cost_per_token": _PRICE_OUT_USD_PER_MTOK / 1e6,
    }
    return {
        "model_list": [{"model_name": COMPONENT, "litellm_params": parameters}],
        "litellm_settings": {"callbacks": [], "num_retries": 0, "request_timeout": 120, "set_verbose": False},
        "general_settings": {"disable_spend_logs": True},
    }


def turnout_config(upstream: str) -> dict[str, Any]:
    """Gateway, router and one cloud component; API keys are checked, as LiteLLM does."""
    component = {
        "kind": "llm_cloud",
        "base_url": f"{upstream}/v1",
        "model": MODEL,
        "price": {
            "input_usd_per_mtok": _PRICE_IN_USD_PER_MTOK,
            "output_usd_per_mtok": _PRICE_OUT_USD_PER_MTOK,
        },
    }
    return {"version": 1, "gateway": {"keys": {"env": KEY_VARIABLE}}, "components": {COMPONENT: component}}


def describe(upstream: str = "http://127.0.0.1:PORT") -> dict[str, Any]:
    """Both configurations, for the report."""
    return json.loads(json.dumps({TURNOUT: turnout_config(upstream), LITELLM: litellm_config(upstream)}))  # type: ignore[no-any-return]


def _ticker(tell: Tell, what: str) -> Callable[[float], None]:
    return lambda took_s: tell(f"starting {what} ({took_s:.0f} s)")
