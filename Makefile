# Everything runs in .venv, made here from requirements.lock. `make PYTHON=python3.12 test` picks the interpreter.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
# No compiler needed: wheels only, except for our own package.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: -c $(LOCK)
# Files stay together: the tests of one share what is compiled. A worker takes up to 6 GB.
WORKERS := 2
PYTEST := $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile
# Compiling is most of the time of the fast tests, and a third less without optimisation. The slow ones run as users do.
# Splitting a program to compile its parts at once gains nothing where every core has a worker.
QUICKLY := XLA_FLAGS='--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1'
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3)

.PHONY: help
help:  ## list the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# --- environment: one stamp per set of packages, renewed when the lock or pyproject.toml changes ---

$(BIN)/python:
	@old=; bare=; chosen=; \
	for candidate in $(CANDIDATES); do \
	  "$$candidate" -c 'import sys' >/dev/null 2>&1 || continue; \
	  "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { old="$$candidate"; continue; }; \
	  "$$candidate" -c 'import ensurepip, venv' 2>/dev/null || { bare="$$candidate"; continue; }; \
	  chosen="$$candidate"; break; \
	done; \
	if [ -z "$$chosen" ] && [ -n "$$bare" ]; then \
	  echo "$$bare cannot make virtual environments: its venv module is not installed." >&2; \
	  echo "On Debian or Ubuntu: apt-get install python3-venv (or the package $$(basename "$$bare")-venv), then make again." >&2; \
	  exit 1; \
	elif [ -z "$$chosen" ]; then \
	  echo "numpyro-homog needs Python 3.11 or newer; tried: $(CANDIDATES).$${old:+ ($$old is too old.)}" >&2; \
	  echo "Install one (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3.12 ..." >&2; \
	  exit 1; \
	fi; \
	echo "Creating $(VENV) with $$("$$chosen" --version) ..."; \
	"$$chosen" -m venv $(VENV)

$(VENV)/.installed: $(LOCK) pyproject.toml | $(BIN)/python
	@echo "Installing the packages of $(LOCK); this takes a few minutes if pip has nothing cached ..."
	$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-%: $(LOCK) pyproject.toml | $(VENV)/.installed
	$(INSTALL) -e '.[$*]'
	@touch $@

# --- what a user runs ---

.PHONY: quickstart
quickstart: $(VENV)/.installed  ## estimate the parameters of the packaged specimens; figures go to out/
	$(BIN)/python tutorials/00_quickstart.py

.PHONY: bench
bench: $(VENV)/.installed-bench  ## run every benchmark (long); tables go to benchmarks/results
	for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

# --- what a contributor runs ---

.PHONY: test
test: $(VENV)/.installed-test  ## the fast tests: a marked subset in 32 bits, then all of them in 64 bits
	$(QUICKLY) NUMPYRO_HOMOG_TEST_X64=0 $(PYTEST) -m "x32 and not slow" tests
	$(QUICKLY) NUMPYRO_HOMOG_TEST_X64=1 $(PYTEST) -m "not slow" tests

.PHONY: test-x32
test-x32: $(VENV)/.installed-test  ## all fast tests in 32 bits
	NUMPYRO_HOMOG_TEST_X64=0 $(PYTEST) -m "not slow" tests

.PHONY: test-slow
test-slow: $(VENV)/.installed-test  ## the slow tests, in 64 bits
	NUMPYRO_HOMOG_TEST_X64=1 $(PYTEST) -m slow tests

.PHONY: lint
lint: $(VENV)/.installed-lint  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: docs
docs: $(VENV)/.installed-docs  ## build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

.PHONY: lock
lock:  ## renew requirements.lock after a change of dependencies (needs uv; add UPGRADE=--upgrade for new versions)
	uv pip compile --universal --python-version 3.11 --all-extras --only-binary :all: $(UPGRADE) \
	  --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	  --quiet --output-file $(LOCK) pyproject.toml

.PHONY: clean
clean:  ## remove the environment and everything generated
	rm -rf $(VENV) out docs/_build benchmarks/cache .pytest_cache .ruff_cache .mypy_cache
