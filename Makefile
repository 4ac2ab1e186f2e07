# `make run` and `make test` are all that a fresh Debian or Mac with Python 3.11, 3.12 or 3.13 needs; PYTHON names it.
CONFIG ?= serve_config.yaml
VENV_PYTHON := .venv/bin/python

run: install-deps  ## start the server on HOST and PORT; Ctrl-C ends it
	@exec $(VENV_PYTHON) -m cli up --config $(CONFIG)

test: check test-packages  ## everything CI runs for a change: some 12 minutes on two cores
	$(VENV_PYTHON) -m pytest --numprocesses 3 --dist loadfile -m "not nightly"  # see tests/dealing.py

test-nightly: install-dev test-packages  ## what takes minutes each: machines that die, floods, every way to leave
	$(VENV_PYTHON) -m pytest --numprocesses 2 --dist loadfile -m nightly

test-packages:
	@command -v curl >/dev/null || deploy/packages.sh curl
	@command -v redis-server >/dev/null || deploy/packages.sh redis-server
	@command -v zsh >/dev/null || deploy/packages.sh zsh
	@command -v fish >/dev/null || deploy/packages.sh fish
	@command -v promtool >/dev/null || test -e .venv/debian/usr/bin/promtool || deploy/unpack.sh prometheus
	@test "$$(uname)" != Linux || command -v systemd-analyze >/dev/null || deploy/packages.sh systemd
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || deploy/packages.sh chromium

test-fresh:  ## the README's two commands in a bare Debian 12 and 13, and the image (root, Linux, half an hour): nightly
	@tests/fresh/run.sh
	@tests/fresh/image.sh

test-clients: install-dev  ## real clients from PyPI and npm, each in an environment of its own (docs/clients.md)
	$(VENV_PYTHON) -m tests.clients.run --write

test-open-webui: install-dev  ## Open WebUI in a browser, in front of this server (docs/clients.md)
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || deploy/packages.sh chromium
	$(VENV_PYTHON) -m tests.clients.open_webui --write

check: install-dev  ## format, lint, types, the arrows between the rooms, and the configuration files
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m mypy
	.venv/bin/lint-imports
	$(VENV_PYTHON) -m cli check serve_config.yaml serve_config.gpu.yaml serve_config.mac.yaml

evaluate: install-dev  ## what the built-in models reach
	$(VENV_PYTHON) -m training.evaluate

bench: install-dev  ## throughput and latency of this machine
	$(VENV_PYTHON) -m bench.overhead
	$(VENV_PYTHON) -m bench.pictures
	$(VENV_PYTHON) -m bench.captions
	$(VENV_PYTHON) -m bench.chat
	$(VENV_PYTHON) -m bench.responses
	$(VENV_PYTHON) -m bench.parity
	$(VENV_PYTHON) -m bench.search
	$(VENV_PYTHON) -m bench.speech

samples: install-dev  ## docs/voices: a page to listen to the built-in voice, with its pitches
	$(VENV_PYTHON) -m bench.voices

screenshots: install-dev  ## docs/pictures/studio: the page, of a server that is started for it
	@home=$$(mktemp -d) && PORT=18080 ATELIER_HOME=$$home $(VENV_PYTHON) -m cli up & server=$$!; \
	trap "kill $$server; wait $$server" EXIT; \
	until curl -sf http://127.0.0.1:18080/readyz >/dev/null; do kill -0 $$server || exit 1; sleep 1; done; \
	$(VENV_PYTHON) -m bench.screenshots http://127.0.0.1:18080

install-deps: .venv/installed
install-dev: .venv/installed-dev

.venv/installed: requirements.lock pyproject.toml deploy/venv.sh deploy/without-gpu.txt
	@deploy/venv.sh

.venv/installed-dev: requirements.lock pyproject.toml deploy/venv.sh
	@deploy/venv.sh dev

# A service of the machine: your own, or with SYSTEM=1 the system's (docs/deployment.md).
SERVICE = $(VENV_PYTHON) -m cli.service
SCOPE = $(if $(filter-out 0,$(SYSTEM)),--system)

install: install-deps  ## run the server as a service, now and with the machine
	@$(SERVICE) install $(SCOPE) --config $(CONFIG)

uninstall:  ## end the service and remove it; what it stored stays
	@$(SERVICE) uninstall $(SCOPE)

start stop restart:  ## start, stop or restart the service; each waits until it is done
	@$(SERVICE) $@ $(SCOPE)

status:  ## what the service does
	@$(SERVICE) status $(SCOPE) || test $$? -eq 3  # it does not run, which is an answer

logs:  ## the log of the service, as it comes; Ctrl-C ends
	@$(SERVICE) logs --follow $(SCOPE)

shell: install-deps  ## a shell in which `atelier` and the server's Python come first
	@PATH="$(CURDIR)/.venv/bin:$$PATH" exec "$${SHELL:-/bin/sh}"

clean:  ## remove what install-deps and the tools made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: run test test-nightly test-packages test-fresh test-clients test-open-webui check evaluate bench samples screenshots install-deps install-dev install uninstall start stop restart status logs shell clean
