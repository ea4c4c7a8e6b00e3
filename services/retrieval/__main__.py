"""`python -m services.retrieval`: the process of a retrieval component."""

from services.retrieval.service import build
from services.worker.process import run_component

if __name__ == "__main__":
    run_component("retrieval", build)
