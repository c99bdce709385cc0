# Each target is one command on a fresh machine: Python 3.11 or newer, pip, make and git are enough.
# PYTHON names the interpreter that makes .venv; everything else lives inside .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)

# Where it is set, each of the thousands of processes of a test run compiles FlowStone anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test pytest lint format bench bench-compare bench-page chaos soak clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

demo: $(VENV)/.demo ## install, then run the shop of examples/shop from uploads to materializations
	@$(BIN)/python examples/shop/demo.py

test: $(VENV)/.dev ## install with the test tools, then run every test and measure coverage
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m $(PYTEST) $(if $(NAMED),,$(addprefix --ignore=tests/,$(UNMEASURED)))
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --fail-under=100 --include='$(PURE)'
	$(if $(NAMED),,$(BIN)/$(PYTEST) $(addprefix tests/,$(UNMEASURED)))

pytest: $(VENV)/.test ## as test, without coverage; for another Python: make pytest PYTHON=python3.13 VENV=.venv-newest
	$(BIN)/$(PYTEST)

PYTEST := pytest -n auto --maxschedchunk 8 $(PYTEST_ARGS)
NAMED := $(filter tests/%,$(PYTEST_ARGS))

# The tests of the wings and plugins reach what both gates ask for. Measuring takes more than half
# as long again, and would add nothing for these, which are mostly of whole processes.
UNMEASURED := flows faults chaos docs packaging

# What must be covered to the last branch: the pure wings, the tickers, the plugins.
empty :=
space := $(empty) $(empty)
comma := ,
PURE := $(subst $(space),$(comma),$(strip \
	flowstone_core/errors.py flowstone_core/model/* flowstone_core/scheduling/* \
	flowstone_core/runtime/ticking/*ticker.py \
	plugins/flowstone-db/src/flowstone_db/* plugins/flowstone-http/src/flowstone_http/* \
	plugins/flowstone-s3/src/flowstone_s3/*))

lint: $(VENV)/.dev ## ruff check, ruff format, mypy --strict, import-linter, changelog fragments
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/towncrier build --draft --version next >/dev/null

format: $(VENV)/.dev ## rewrite the sources as ruff formats them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: $(VENV)/.dev ## kill a runner a thousand times, fail its store at every statement, hang all that is foreign: nothing lost, nothing doubled, nothing else late
	@$(BIN)/python tests/chaos/chaos.py $(CHAOS_ARGS)
	@FLOWSTONE_CHAOS=1 $(BIN)/pytest -q -rP --show-capture=stdout -n auto tests/chaos/test_flaky_database.py tests/faults/test_fuzz.py tests/s3/test_contract.py tests/s3/test_seen_objects.py
	@FLOWSTONE_CHAOS=1 $(BIN)/pytest -q -n auto tests/testing tests/model tests/scheduling
	@$(BIN)/python tests/chaos/hangs.py

soak: $(VENV)/.dev ## ten minutes of load and an hour of virtual days: fails if memory, files, threads or children go on growing; SOAK_ARGS="--minutes 1 --virtual-minutes 1"
	@$(BIN)/python tests/chaos/soak.py $(SOAK_ARGS)

bench: $(VENV)/.bench ## measure FlowStone beside its peers and limits; one benchmark: make bench NAME=jobs; keep the run: RECORD=1
	@$(BIN)/python -m benchmarks $(NAME) $(if $(RECORD),--record) $(BENCH_ARGS)

bench-compare: $(VENV)/.bench ## measure again, and fail if something became worse than the recorded run by more than the noise
	@$(BIN)/python -m benchmarks $(NAME) --compare $(BENCH_ARGS)

bench-page: $(VENV)/.bench ## write docs/performance.md and its plots from the recorded runs
	@$(BIN)/python -m benchmarks --page

clean: ## remove .venv and everything the other targets leave
	rm -rf .venv .venv-newest .venv-lowest $(VENV) .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis benchmarks/.last examples/shop/.run

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: FlowStone needs 3.11 or newer; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv package (on Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python $(PROJECTS)
	$(BIN)/pip install --quiet -e '.[demo]' $(addprefix -e ,$(dir $(wildcard plugins/*/pyproject.toml)))
	@touch $@

$(VENV)/.test: $(VENV)/bin/python $(PROJECTS)
	$(BIN)/pip install --quiet $(INSTALL_ARGS) -e '.[test]' $(addprefix -e ,$(dir $(wildcard plugins/*/pyproject.toml)))
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: $(VENV)/bin/python $(PROJECTS)
	$(BIN)/pip install --quiet $(INSTALL_ARGS) -e '.[dev]' $(addprefix -e ,$(dir $(wildcard plugins/*/pyproject.toml)))
	@touch $@ $(VENV)/.test $(VENV)/.demo

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/pip install --quiet -e '.[bench]'
	@touch $@
