"""A process of the `llm_cloud` kind."""

from __future__ import annotations

from services.llm_cloud.service import build
from services.worker.process import run_component

if __name__ == "__main__":
    run_component("llm_cloud", build)
