# Every common job is one command; a plain `make` lists them.
# Settable: make demo HOST=0.0.0.0 PORT=8000, make test PYTHON=python3.12 VENV=/tmp/env JOBS=4
PYTHON ?= python3
VENV ?= .venv
PORT ?= 7860
JOBS ?= 2
# Not `?=`: some shells export their own HOST, and the demo must not listen on that unasked.
HOST = 127.0.0.1

PY := $(VENV)/bin/python
STAMP := $(VENV)/.facekit-installed
RUFF := "$(PY)" -m ruff

.PHONY: help install demo test slow lint format bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     the demo in the browser, http://$(HOST):$(PORT) (HOST= and PORT= to change it)"
	@echo "make test     the tests, except the slow ones"
	@echo "make slow     the slow tests"
	@echo "make bench    the speed table"
	@echo "make lint     style and types;  make format  puts the style right"
	@echo "make clean    removes the environment $(VENV), so that the next command makes it anew"
	@echo "Each makes its environment first where it is missing (PYTHON=, now $(PYTHON))."

install: $(STAMP)

# The stamp is older than either file after an edit, a pull or a checkout that changed it: then pip runs again.
$(STAMP): requirements.txt pyproject.toml
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "facekit needs Python 3.11 or newer, and '$(PYTHON)' \
	was not found. Install it, or name yours: make ... PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "facekit needs Python 3.11 or \
	newer, and '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1). Name another: make ... PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "'$(PYTHON)' lacks the venv module. On Debian \
	and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@# An environment whose making was interrupted has no working pip: it is made anew.
	@"$(PY)" -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear "$(VENV)"
	"$(PY)" -m pip install --disable-pip-version-check -r requirements.txt -e .
	@touch "$(STAMP)"

demo: $(STAMP)
	"$(PY)" app.py --host "$(HOST)" --port "$(PORT)"

# One torch thread a worker: with more the workers fight over the cores. A file stays on one worker, so
# that a network shared by a module's tests is built once.
test: $(STAMP)
	OMP_NUM_THREADS=1 "$(PY)" -m pytest -q -n $(JOBS) --dist loadfile -m "not slow"

slow: $(STAMP)
	OMP_NUM_THREADS=1 "$(PY)" -m pytest -q -n $(JOBS) --dist loadfile -m slow

lint: $(STAMP)
	$(RUFF) check .
	$(RUFF) format --check .
	"$(PY)" -m mypy

format: $(STAMP)
	$(RUFF) check --fix .
	$(RUFF) format .

bench: $(STAMP)
	"$(PY)" benchmarks/speed.py

clean:
	rm -rf "$(VENV)"
