# `make run` and `make test` need python3 >= 3.11, a C/C++ compiler and cmake. Everything else comes from the locks.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CONFIG ?= turnout.yaml

.DEFAULT_GOAL := help
.PHONY: help run test lint format lock schema clean bench-gateway bench-llm bench

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

run: $(VENV)/.ready ## start everything on this machine (TURNOUT_PORT moves the port)
	@exec $(BIN)/turnout up --config $(CONFIG)

test: $(VENV)/.ready ## run the whole suite
	$(BIN)/python -m pytest

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

lock: ## pin every dependency again (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements-build.in -o requirements-build.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev pyproject.toml -o requirements.lock

clean: ## forget the environment and the state
	rm -rf $(VENV) .turnout .bench

# The locks are complete, so nothing is resolved here (--no-deps), and every file is checked against its hash.
# llama-cpp-python comes as source: its compiler steps are shown as they pass.
$(VENV)/.ready: requirements.lock requirements-build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Turnout needs Python 3.11 or newer; try: make PYTHON=python3.12 run")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "==> 1/4 build tools"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements-build.lock
	@echo "==> 2/4 packages"
	@sed '/^llama-cpp-python==/,/^[a-z]/{/^llama-cpp-python==/d;/^  /d}' requirements.lock > $(VENV)/packages.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/packages.lock
	@echo "==> 3/4 llama.cpp (about 6 minutes on 2 cores, once)"
	@sed -n '/^llama-cpp-python==/,/^    #/p' requirements.lock > $(VENV)/llama.lock
	@CMAKE_ARGS="-DLLAVA_BUILD=OFF $$CMAKE_ARGS" $(BIN)/python -m pip install -v --disable-pip-version-check --require-hashes \
	  --no-deps --no-build-isolation -r $(VENV)/llama.lock > $(VENV)/llama.log 2>&1 & pid=$$!; \
	  while kill -0 $$pid 2>/dev/null; do \
	    step=$$(grep -oE '\[[0-9]+/[0-9]+\]' $(VENV)/llama.log | tail -n 1); \
	    [ "$$step" = "$$last" ] || echo "    compiled $$step"; last=$$step; sleep 5; \
	  done; wait $$pid || { tail -n 40 $(VENV)/llama.log; exit 1; }
	@echo "==> 4/4 turnout"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
