# Everything runs in .venv, made here from requirements.lock. `make PYTHON=python3.12 test` picks the interpreter.
# The newest and the oldest packages have .venv-newest and .venv-oldest, which the lock does not bind.
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
PYTEST_OPTIONS := -q -n $(WORKERS) --dist loadfile
# Bytecode of the tests, and of the package with its checks, is kept whatever the environment says: 3 s per worker.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PYTEST_OPTIONS)
# Compiling is most of the time of the fast tests: a third less without optimisation, and half of that by the old
# emitters of fused loops, which the locked JAX still has. Wider vectors than AVX make those wrong without optimisation
# (facets of Laguerre cells in space). The slow tests run as users do. Splitting a program gains nothing where every
# core has a worker.
XLA_QUICKLY := --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1
QUICKLY := XLA_FLAGS='$(XLA_QUICKLY)'
QUICKLY_LOCKED := XLA_FLAGS='$(XLA_QUICKLY) --xla_cpu_use_fusion_emitters=false --xla_cpu_max_isa=AVX'
# Interpreters of pyenv and uv are tried after those on the path.
PYENV := $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.*/bin/python3)
UV := $(wildcard $(or $(UV_PYTHON_INSTALL_DIR),$(HOME)/.local/share/uv/python)/cpython-3.*/bin/python3)
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3 $(PYENV) $(UV))

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

# Each released interpreter that can make environments: its minor version and where it is.
PYTHONS := for candidate in $(CANDIDATES); do "$$candidate" -c 'import sys, ensurepip, venv; \
  (3, 11) <= sys.version_info and sys.version_info.releaselevel == "final" and print(sys.version_info.minor, sys.executable)' \
  2>/dev/null || true; done

# By uv: it is quick, and finds the oldest versions as well.
.venv-newest/.installed: CHOOSE := sort -n | tail -1
.venv-newest/.installed: RESOLUTION := highest
.venv-oldest/.installed: CHOOSE := grep '^11 ' | head -1
.venv-oldest/.installed: RESOLUTION := lowest-direct
.venv-newest/.installed .venv-oldest/.installed: .venv-%/.installed: pyproject.toml
	@chosen=$$({ $(PYTHONS); } | { $(CHOOSE) || true; } | cut -d" " -f2); \
	[ -n "$$chosen" ] || { echo "No Python for .venv-$* among: $(CANDIDATES)" >&2; exit 1; }; \
	echo "Creating .venv-$* with $$("$$chosen" --version) and the $* packages ..."; \
	"$$chosen" -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: uv
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python --only-binary :all: \
	  --resolution $(RESOLUTION) -e '.[test]'
	@touch $@

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
	for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python -m benchmarks.$$(basename $$script .py); done

# --- what a contributor runs ---

.PHONY: test
test: $(VENV)/.installed-test  ## the fast tests: a marked subset in 32 bits, then all of them in 64 bits
	$(QUICKLY_LOCKED) NUMPYRO_HOMOG_TEST_X64=0 $(PYTEST) -m "x32 and not slow" tests
	$(QUICKLY_LOCKED) NUMPYRO_HOMOG_TEST_X64=1 $(PYTEST) -m "not slow" tests

.PHONY: test-x32
test-x32: $(VENV)/.installed-test  ## all fast tests in 32 bits
	NUMPYRO_HOMOG_TEST_X64=0 $(PYTEST) -m "not slow" tests

.PHONY: test-newest test-oldest
test-newest:  ## the marked subset with the newest Python found and the newest packages (`make -B` renews them)
test-oldest:  ## the marked subset on Python 3.11 with the oldest packages that pyproject.toml allows
test-newest test-oldest: test-%: .venv-%/.installed
	$(QUICKLY) NUMPYRO_HOMOG_TEST_X64=1 .venv-$*/bin/python -m pytest $(PYTEST_OPTIONS) -m "x32 and not slow" tests

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
clean:  ## remove the environments and everything generated
	rm -rf $(VENV) .venv-newest .venv-oldest out docs/_build benchmarks/cache .pytest_cache .ruff_cache .mypy_cache
