# Every target works alone on a fresh clone: what it needs is set up in .venv first, and only when
# pyproject.toml or constraints.txt changed since.

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then command -v $$p; break; fi; done)
# Without what Asteroid lists and DPRNNTasNet never imports: pesq is built by a C compiler, torchaudio is for other torches.
ASTEROID := asteroid asteroid-filterbanks
ASTEROID_NEEDS := huggingface-hub requests
WORKERS ?= 2
PYTEST_ARGS ?=

.PHONY: help venv demo test test-slow lint type bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

venv: $(STAMP)  ## set up .venv with the tested versions

$(STAMP): pyproject.toml setup.py constraints.txt
	@if [ ! -x $(BIN)/python ]; then \
		if [ -z "$(PYTHON)" ]; then \
			echo "Python 3.11 was not found: install it (Debian: apt install python3.11 python3.11-venv), or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; fi; \
		"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
			echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: apt install python3.11-venv)" >&2; exit 1; }; fi
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev,track]' $(ASTEROID_NEEDS)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt --no-deps $(ASTEROID)
	@touch $@

demo: $(STAMP)  ## train a DQN to walk to sounds, compare it with the baselines, record a video
	$(BIN)/auralnav demo

test: $(STAMP)  ## the tests, without the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

test-slow: $(STAMP)  ## the slow tests
	$(BIN)/python -m pytest -m "slow and not gpu" --timeout 7200 $(PYTEST_ARGS)

lint: $(STAMP)  ## style and the one-way import rules
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

type: $(STAMP)  ## static types
	$(BIN)/pyright

bench: $(STAMP)  ## speed on this machine, beside others in the same run: about nine minutes
	$(BIN)/auralnav bench speed --out results/speed.json

clean:  ## remove caches and .venv; runs/ and results/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find auralnav tests -name __pycache__ -type d -prune -exec rm -rf {} +
