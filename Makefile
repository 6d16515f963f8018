# Two commands for newcomers: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# An editable install need not be repeated when code changes, only when what it depends on does.
DEPENDS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test lint format types floors unit bench chaos soak gpu-check constraints clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "aquahost needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Making a virtual environment in $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python $(DEPENDS)
	@echo "Installing aquahost and what it needs (a minute or two the first time)" >&2
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the tools that check it" >&2
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## set up .venv to run aquahost
install-dev: $(VENV)/.installed-dev  ## set up .venv to work on aquahost

demo: install  ## host three tiny models, ask each once, save an image and a sound under demo-output/
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/demo.sh

test: lint types floors unit  ## everything CI checks: lint, types, import floors, all tests

lint: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: install-dev  ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: install-dev
	$(BIN)/mypy

floors: install-dev
	$(BIN)/lint-imports --no-cache

unit: install-dev  ## all tests; those whose times others would spoil one after the other, three minutes of soak among them
	$(BIN)/pytest -q -n 2 --dist worksteal --ignore tests/process
	$(BIN)/pytest -q -n 3 --dist loadfile -m "not gpu and not bench and not alone" tests/process
	$(BIN)/pytest -q -m "not gpu and not bench and alone" tests/process

bench: install-dev  ## measure every figure in docs/benchmarks.md (about ten minutes; close everything else)
	$(BIN)/aquahost bench all -o json

chaos: install-dev  ## kill, fuzz and wear out a daemon of its own at length: the figures of docs/reliability.md (about an hour)
	$(BIN)/aquahost chaos --rounds 100 --daemon-kills 10
	$(BIN)/aquahost chaos schema --cases 10000
	$(BIN)/aquahost chaos bytes --inputs 100000
	$(BIN)/aquahost chaos soak --for 30m

soak: install-dev  ## three minutes of mixed load: memory, descriptors and latency must stay flat
	$(BIN)/aquahost chaos soak --for 3m

gpu-check: install-dev  ## try and measure the device layer on this machine's real GPU, and write it to docs/benchmarks/
	@status=0; \
	PYTHONPATH=.:cuda:tui $(BIN)/python -m aquahost.bench.gpu_check || status=1; \
	$(BIN)/pytest -q -m gpu tests/gpu || status=1; \
	exit $$status

constraints: install-dev  ## pin what is installed now
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.new
	@mv constraints.new constraints.txt

clean:  ## remove everything made here
	rm -rf $(VENV) demo-output dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
