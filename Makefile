# `make demo` and `make test` do all the set-up; the rest is for daily work.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check format benchmarks clean

demo: $(VENV)/.demo
	$(BIN)/retrodict demo credit

test: $(VENV)/.test
	bash tests/run.sh

check: $(VENV)/.test
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

format: $(VENV)/.test
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

benchmarks: $(VENV)/.test
	$(BIN)/python benchmarks/all.py

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "retrodict needs Python 3.11 or newer: make PYTHON=python3.12")'
	@# Debian and Ubuntu ship Python without what makes virtual environments.
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "Installing python3-venv"; apt-get install -y -qq python3-venv || sudo -n apt-get install -y -qq python3-venv; } || \
	  { echo "This Python cannot make virtual environments; on Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group test --group lint
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
