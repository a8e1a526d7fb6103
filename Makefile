# `make help` lists what there is. Everything installs into .venv, checkov into .local/checkov, and state lies in .local.
.DEFAULT_GOAL := help
.PHONY: help run up down local test check format lint types layers simulate load mutants bench bench-quick scale cost pins clean

PY := .venv/bin/python
export PYTHONDONTWRITEBYTECODE := 1

# Workers share the test files: one for each processor, six at most, because each starts an embedded AWS of its own.
# ARGS are further arguments of pytest.
WORKERS ?= $(shell $(PY) -c 'import os; print(min(os.cpu_count(), 6))')
PYTEST = $(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## / - /' | awk -F' - ' '{printf "make %-8s %s\n", $$1, $$2}'

run: .venv/ready ## the whole system on an embedded AWS, in the foreground; Ctrl-C stops it
	@exec $(PY) -m ops.local run

up: .venv/ready ## the same in the background; returns when it is ready
	@$(PY) -m ops.local up

down: .venv/ready ## stop what `make up` started
	@$(PY) -m ops.local down

local: .venv/ready ## `chalice local` with reload, against the embedded AWS of `make up`
	@exec $(PY) -m ops.local local $(if $(PORT),--port $(PORT))

test: .venv/ready ## the quick tests: all that are not marked exhaustive; five minutes on two processors
	@scripts/setup-browser
	@$(PYTEST) -m "not exhaustive"

check: .venv/ready lint types layers ## the gate: format, lint, types, layers, every test, branch coverage
	@scripts/setup-browser
	@$(PYTEST) --cov --cov-report=term-missing:skip-covered

format: .venv/ready ## bring the code into form
	@.venv/bin/ruff check --quiet --fix --select I . && .venv/bin/ruff format .

lint: .venv/ready .local/checkov/ready
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/cfn-lint infrastructure/template.yaml
	@.local/checkov/bin/checkov --framework cloudformation --skip-download --quiet --compact --file infrastructure/template.yaml

types: .venv/ready
	@STAGE=local .venv/bin/mypy

layers: .venv/ready
	@.venv/bin/lint-imports --no-logo

simulate: .venv/ready ## random interleavings, SEEDS of them from FIRST on; a failure prints its seed and schedule
	@$(PY) -m tests.resilience.simulate --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)

load: .venv/ready ## increments end to end while functions die, answers get lost, the embedded AWS stops and starts; then a rebuild of 50,000 events under traffic
	@$(PY) -m tests.resilience.load --events $(or $(EVENTS),20000) --seed $(or $(SEED),1)
	@REBUILT_EVENTS=50000 $(PY) -m pytest -q tests/e2e/test_maintenance.py -k under_traffic

mutants: .venv/ready ## each known mistake in our own source, and whether its test catches it; writes docs/mutants.md
	@$(PY) -m tests.resilience.mutants

bench: .venv/ready ## what this costs, survives and takes beside what people would do instead: writes docs/figures.md; SECTIONS, SIZES
	@SIZES="$(SIZES)" $(PY) -m bench $(SECTIONS)

bench-quick: .venv/ready ## the same in little, into .local/bench
	@$(PY) -m bench --quick $(SECTIONS)

scale: .venv/ready ## how far it goes, by simulation; VALIDATE=1 runs the embedded AWS beside the model
	@$(PY) -m benchmarks.scale $(if $(VALIDATE),--validate)

cost: .venv/ready ## what a million increments cost; MEASURE=1 takes anew what the functions take
	@$(PY) -m benchmarks.cost $(if $(MEASURE),--measure)

pins: .venv/ready ## write requirements*.txt with hashes from requirements*.in; UPGRADE=1 takes the latest versions
	@for name in requirements requirements-sql requirements-dev requirements-checkov; do \
	    case $$name in requirements|requirements-sql) deps=--no-deps ;; *) deps= ;; esac; \
	    UV_CUSTOM_COMPILE_COMMAND='make pins' .venv/bin/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal \
	        --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links $$deps \
	        $$name.in -o $$name.txt || exit 1; done

clean: ## stop what runs, and forget the environment and all local state
	@if [ -e .venv/ready ]; then $(PY) -m ops.local down; fi
	@rm -rf .venv .local

.venv/ready: requirements-dev.txt scripts/setup
	@scripts/setup

.local/checkov/ready: requirements-checkov.txt scripts/setup-checkov | .venv/ready
	@scripts/setup-checkov
