# Every target sets itself up: it makes a virtual environment in .venv and installs there
# what is missing for it, so that a fresh clone needs nothing but Python 3.11 and make.
#
#   make demo PYTHON=python3.12                 another Python (after `make clean`)
#   make test PYTEST_ARGS="-m 'not slow' -k metrics"
#   make test PYTEST_ARGS="-n 0 --pdb"     in one process, for a debugger
#   make docs SPHINX_ARGS="-D plot_gallery=0"   without running the examples
#   make bench BENCH_ARGS="quality --folder DATA --data icons"

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

# The first Python that runs and is new enough.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

unexport PYTHONDONTWRITEBYTECODE

PYTEST_ARGS ?=
EXTRA := dev
SPHINX_ARGS ?=
BENCH_ARGS ?= quality --data fontawesome

.NOTPARALLEL:
.PHONY: help demo test test-oldest venv-oldest lint format docs bench clean

help:
	@echo "make demo         fit on real icons, by text and with pictures (a few minutes)"
	@echo "make test         run all tests"
	@echo "make test-oldest  the same with the oldest dependencies allowed"
	@echo "make lint         check style and formatting"
	@echo "make format       correct what lint can correct by itself"
	@echo "make docs         build the documentation into docs/_build/html"
	@echo "make bench        measure quality, speed and memory: BENCH_ARGS='train --help'"
	@echo "make clean        remove .venv and everything that was built"

demo: $(VENV)/.with-demo
	$(BIN)/python examples/plot_fontawesome.py

test: $(VENV)/.with-$(EXTRA)
	$(BIN)/python -m pytest -n auto --maxprocesses=4 $(PYTEST_ARGS)

# The same tests with the oldest dependencies that pyproject.toml allows, beside .venv.
test-oldest: venv-oldest
	@$(MAKE) test VENV=.venv-oldest EXTRA=test

venv-oldest:
	@sed -n '/^dependencies/,/^]/s/^ *"\(.*\)>=\(.*\)",$$/\1==\2/p' pyproject.toml \
		> .venv-oldest.txt
	@PIP_CONSTRAINT=$(CURDIR)/.venv-oldest.txt $(MAKE) .venv-oldest/.with-test VENV=.venv-oldest

docs: $(VENV)/.with-docs
	$(BIN)/python -m sphinx -W --keep-going -b html $(SPHINX_ARGS) docs docs/_build/html

bench: $(VENV)/.with-bench
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

lint: $(VENV)/.ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

format: $(VENV)/.ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-oldest .venv-oldest.txt build dist docs/_build docs/auto_examples docs/generated
	rm -rf .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: one stamp a group of packages, renewed when pyproject.toml changes ---

$(VENV)/.created:
	@$(if $(PYTHON),,echo "skxmc needs Python 3.11 or newer and found none." \
		"Install one, or name it: make PYTHON=/path/to/python3.11"; exit 1)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "skxmc needs Python 3.11 or newer; $(PYTHON) is older or does not run."; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# Compiling every file of every package would double the time: Python compiles what it imports,
# once, if it may keep the result.
$(VENV)/.with-%: pyproject.toml $(VENV)/.created
	@echo "Installing skxmc with its extra '$*' into $(VENV)" \
		"(PyTorch is large: a few minutes the first time)"
	@$(PIP) install --no-compile --editable ".[$*]"
	@$(PIP) install --no-compile --no-deps "$$(sed -n 's/^# pip install --no-deps //p' pyproject.toml)"
	@touch $@

# Linting needs these alone, in the versions that pyproject.toml pins.
$(VENV)/.ruff: pyproject.toml $(VENV)/.created
	@$(PIP) install $$(sed -n 's/^ *"\(ruff==[0-9.]*\|codespell==[0-9.]*\)",$$/\1/p' pyproject.toml)
	@touch $@
