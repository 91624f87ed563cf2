# Everything is set up by the target that needs it: nothing to activate, nothing to install first.
# On a fresh machine: Python 3.11 to 3.13, git and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Exact versions, for the packages themselves and for the tools that build them (pip reads the
# first name, from 25.3 on the second one for builds).
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run loop test lint bench clean constraints

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

run: $(VENV)/.installed-run ## all eight stages on the flights data: raw tables to a judged model
	@$(BIN)/mlops run

loop: $(VENV)/.installed-run ## October to December through a running service: monitored, retrained; in a clone
	@$(BIN)/python examples/loop.py

test: lint ## lint, types, import contracts, and every test
	$(BIN)/pytest

lint: $(VENV)/.installed-dev ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev ## the benchmarks of docs/benchmarks.md; takes a while
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/data_plane.py
	$(BIN)/python benchmarks/registry.py

clean: ## remove caches, build products and .mlops; the venv, data, models and reports stay
	rm -rf .mlops build dist htmlcov .coverage .hypothesis
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find mlops_cli tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The stamps make a second call install nothing.
$(VENV)/.installed-run: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing into $(VENV) (once)"
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[flights,serve]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "installing into $(VENV), with the tools of development (once)"
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[flights,dev]'
	@touch $@ $(VENV)/.installed-run

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11 to 3.13 is needed; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

constraints: ## renew constraints.txt and requirements.lock: the newest that pyproject.toml allows
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && unset PIP_CONSTRAINT PIP_BUILD_CONSTRAINT && \
	$(PYTHON) -m venv "$$folder" && \
	"$$folder/bin/pip" install --quiet --upgrade -e '.[flights,dev]' 'setuptools<81' hatchling editables && \
	{ sed -n '/^#/p' constraints.txt; \
	  "$$folder/bin/pip" freeze --all --exclude pip --exclude mlops-cli; } > "$$folder/constraints.txt" && \
	cp "$$folder/constraints.txt" constraints.txt && \
	printf '%s\n' hatchling editables 'setuptools<81' > "$$folder/build.in" && \
	"$$folder/bin/pip" install --quiet uv && \
	{ sed -n '/^#/p' requirements.lock; \
	  "$$folder/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-strip-extras --no-annotate --no-header --extra flights --extra serve \
	    --constraint constraints.txt pyproject.toml "$$folder/build.in"; } > "$$folder/requirements.lock" && \
	cp "$$folder/requirements.lock" requirements.lock
