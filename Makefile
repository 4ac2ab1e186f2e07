# `make run` and `make test` are all that a fresh Debian or Mac with Python 3.11 or newer needs.
CONFIG ?= serve_config.yaml
PYTHON := .venv/bin/python

run: install-deps  ## start the server on HOST and PORT; Ctrl-C ends it
	@exec $(PYTHON) -m cli up --config $(CONFIG)

test: check  ## everything CI runs
	$(PYTHON) -m pytest

check: install-deps  ## format, lint, types, the arrows between the rooms, and the configuration files
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m ruff check
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	$(PYTHON) -m cli check serve_config.yaml serve_config.gpu.yaml

evaluate: install-deps  ## what the built-in models reach
	$(PYTHON) -m training.evaluate

bench: install-deps  ## throughput and latency of this machine
	$(PYTHON) -m bench.overhead
	$(PYTHON) -m bench.pictures

install-deps: .venv/installed

.venv/installed: requirements.lock deploy/venv.sh
	@deploy/venv.sh

clean:  ## remove what install-deps and the tools made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: run test check evaluate bench install-deps clean
