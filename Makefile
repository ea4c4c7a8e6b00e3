# `make run` and `make test` need python3 >= 3.11, a C++ compiler and cmake. Everything else comes from the locks.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CONFIG ?= turnout.yaml
LOCKS  := requirements-build.lock requirements.lock requirements-llama.lock

.DEFAULT_GOAL := help
.PHONY: help run test test-containers images lint format lock schema clean bench-gateway bench-llm prove-swap eval

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

run: $(VENV)/.ready ## start everything on this machine (TURNOUT_PORT moves the port, CONFIG names another file)
	@exec $(BIN)/turnout up --config $(CONFIG) --with-parent

test: $(VENV)/.ready ## run the whole suite
	@exec $(BIN)/python -m pytest

images: ## build every container image (as root on Debian, gets an engine if there is none)
	@$(PYTHON) compose/containers.py images

test-containers: $(VENV)/.ready ## build the images, run the whole system in containers, test it
	@$(PYTHON) compose/containers.py test

lint: $(VENV)/.ready ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-gateway: $(VENV)/.ready ## requests/s and latency against LiteLLM's proxy, in one run
	$(BIN)/python -m evals.bench.gateway

EVAL := .bench/eval
eval: $(VENV)/.ready ## compare routing policies on recorded outcomes; the report is in .bench/eval
	@$(BIN)/pip download -q --disable-pip-version-check --no-deps --require-hashes -d $(EVAL) -r evals/paretobandit.lock
	$(BIN)/python -m evals.cli import paretobandit $(EVAL)/paretobandit-*.whl --out $(EVAL)/paretobandit.parquet
	$(BIN)/python -m evals.cli routing --train $(EVAL)/paretobandit.parquet --out $(EVAL)

bench-llm: $(VENV)/.ready ## tokens/s and latency of the local engine against llama.cpp's servers, in one run
	$(BIN)/python -m evals.bench.llm

prove-swap: $(VENV)/.ready ## change what runs under load, and count what its clients noticed
	$(BIN)/python -m evals.prove.swap
	$(BIN)/python -m evals.prove.kills
	$(BIN)/python -m evals.prove.scaling

schema: $(VENV)/.ready ## write the JSON schema of the configuration again
	$(BIN)/turnout schema > turnout.schema.json

# llama-cpp-python has a lock of its own: it has no wheels, so it is compiled, in a step of its own.
LOCK := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header
IMAGES := gateway router llm-local llm-cloud vision retrieval agents controller
lock: ## pin every dependency again (needs uv)
	$(LOCK) requirements-build.in -o requirements-build.lock
	$(LOCK) --extra dev pyproject.toml --no-emit-package llama-cpp-python -o requirements.lock
	$(LOCK) --no-deps requirements-llama.in -o requirements-llama.lock
	$(LOCK) --no-deps evals/paretobandit.in -o evals/paretobandit.lock
	for extra in $(IMAGES); do $(LOCK) --no-annotate -c requirements.lock --extra $$extra --extra otel \
		--no-emit-package llama-cpp-python pyproject.toml -o compose/locks/$$extra.lock || exit 1; done
	$(LOCK) --no-annotate -c requirements.lock compose/locks/nats.in -o compose/locks/nats.lock
	$(LOCK) --no-annotate --no-deps -c requirements.lock compose/locks/test.in -o compose/locks/test.lock

clean: ## forget the environment and the state
	rm -rf $(VENV) .turnout .bench

$(VENV)/.ready: $(LOCKS) pyproject.toml services/controller/bootstrap.py
	@$(PYTHON) -I services/controller/bootstrap.py $(VENV)
	@touch $@
