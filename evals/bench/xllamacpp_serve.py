"""llama.cpp's own server out of the wheel `xllamacpp`. Runs in that wheel's environment, which has nothing of ours.

.bench/xllamacpp/bin/python evals/bench/xllamacpp_serve.py --model PATH --port 8081 --parallel 16 ...
"""

from __future__ import annotations

import argparse
import signal
import sys

import xllamacpp  # type: ignore[import-not-found]  # not in our environment

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--parallel", type=int, required=True)
parser.add_argument("--context-tokens", type=int, required=True, help="of each of the parallel slots")
parser.add_argument("--threads", type=int, required=True)
given = parser.parse_args()

# As `llama-server -m PATH -np N -c TOKENS -t THREADS` would have it; everything else is its default.
params = xllamacpp.CommonParams()
params.model.path = given.model
params.hostnames = ["127.0.0.1"]
params.port = given.port
params.n_parallel = given.parallel
params.n_ctx = given.parallel * given.context_tokens
params.cpuparams.n_threads = given.threads
params.cpuparams_batch.n_threads = given.threads

server = xllamacpp.Server(params)
sys.stdout.write(f"{server.listening_address}\n{xllamacpp.get_system_info()}\n")
sys.stdout.flush()
signal.sigwait({signal.SIGTERM, signal.SIGINT})
