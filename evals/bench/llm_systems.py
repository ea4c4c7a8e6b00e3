"""What `make bench-llm` measures: Turnout with one local component, llama.cpp's own server, and llama-cpp-python's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evals.bench.children import BenchError, await_ready, child, clean_environment, free_port
from evals.bench.llm_load import KEY_VARIABLE
from evals.bench.systems import System, Tell
from services.llm_local.source import digest

RAW = "raw loop"
TURNOUT = "turnout"
LLAMA_CPP = "llama.cpp server"
LLAMA_CPP_PYTHON = "llama_cpp.server"
SERVERS = (TURNOUT, LLAMA_CPP, LLAMA_CPP_PYTHON)

COMPONENT = "local"
_START_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Setup:
    """The same for all of them."""

    model: Path
    threads: int
    slots: int
    context_tokens: int


@contextmanager
def turnout(folder: Path, setup: Setup, key: str, tell: Tell) -> Iterator[System]:
    """Gateway, bus, router and the engine, as `turnout up` runs them."""
    port, log, config = free_port(), folder / "turnout.log", folder / "turnout.yaml"
    config.write_text(yaml.safe_dump(turnout_config(setup), sort_keys=False))
    binary = Path(sys.executable).with_name("turnout")
    if not binary.exists():
        raise BenchError(f"there is no {binary}: `make run` or `make test` sets the environment up")
    command = (binary, "up", "--config", config, "--port", str(port), "--state-dir", folder / "state")
    environment = clean_environment(**{KEY_VARIABLE: key}, **our_path())
    with child(command, log, environment) as process:
        url = f"http://127.0.0.1:{port}"
        await_ready(process, f"{url}/health/ready", log, _START_TIMEOUT_S, _ticker(tell, "Turnout"))
        yield System(TURNOUT, url, COMPONENT, process.pid)


@contextmanager
def llama_cpp(folder: Path, python: Path, setup: Setup, tell: Tell) -> Iterator[System]:
    """llama.cpp's server: the same slots and contexts, everything else its default."""
    port, log = free_port(), folder / "llama.cpp.log"
    command = (
        *(python, Path(__file__).with_name("xllamacpp_serve.py"), "--model", setup.model, "--port", str(port)),
        *("--parallel", str(setup.slots), "--context-tokens", str(setup.context_tokens)),
        *("--threads", str(setup.threads)),
    )
    with child(command, log, clean_environment()) as process:
        url = f"http://127.0.0.1:{port}"
        await_ready(process, f"{url}/health", log, _START_TIMEOUT_S, _ticker(tell, "llama.cpp's server"))
        yield System(LLAMA_CPP, url, COMPONENT, process.pid)


@contextmanager
def llama_cpp_python(folder: Path, python: Path, setup: Setup, tell: Tell) -> Iterator[System]:
    """llama-cpp-python's server. By default it breaks an answer off when the next request comes: not here.

    Nor does it keep the logits of every token of the prompt: nobody asks for them, and copying them takes its time.
    """
    port, log = free_port(), folder / "llama_cpp.server.log"
    command = (
        *(python, "-m", "llama_cpp.server", "--model", setup.model, "--host", "127.0.0.1", "--port", str(port)),
        *("--n_ctx", str(setup.context_tokens), "--n_threads", str(setup.threads)),
        *("--n_threads_batch", str(setup.threads), "--interrupt_requests", "false", "--logits_all", "false"),
        *("--verbose", "false"),
    )
    with child(command, log, clean_environment()) as process:
        url = f"http://127.0.0.1:{port}"
        await_ready(process, f"{url}/v1/models", log, _START_TIMEOUT_S, _ticker(tell, "llama_cpp.server"))
        yield System(LLAMA_CPP_PYTHON, url, COMPONENT, process.pid)


def turnout_config(setup: Setup) -> dict[str, Any]:
    """One component, and API keys that are checked."""
    component = {
        "kind": "llm_local",
        "source": f"file:{setup.model}",
        "sha256": digest(setup.model),
        "slots": setup.slots,
        "context_tokens": setup.context_tokens,
        "threads": setup.threads,
    }
    return {"version": 1, "gateway": {"keys": {"env": KEY_VARIABLE}}, "components": {COMPONENT: component}}


def our_path() -> dict[str, str]:
    """Where our own packages are, if that was said: the processes that Turnout starts must find the same ones."""
    return {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}


def _ticker(tell: Tell, what: str) -> Callable[[float], None]:
    return lambda took_s: tell(f"starting {what} ({took_s:.0f} s)")
