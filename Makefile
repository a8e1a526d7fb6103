# `make help` lists the targets. Everything installs into .venv, checkov into .local/checkov; state is in .local.
.DEFAULT_GOAL := help
.PHONY: help run up down local test check format lint types layers simulate load mutants bench bench-quick scale cost screenshots images openapi embed lighthouse pins clean

PY := .venv/bin/python

# Workers share the test files: one more than processors, because tests of the deployed system also wait; six at most,
# because each worker starts a separate embedded AWS. ARGS are further arguments of pytest.
WORKERS ?= $(shell $(PY) -c 'import os; print(min(os.cpu_count() + 1, 6))')
PYTEST = $(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## / - /' | awk -F' - ' '{printf "make %-11s %s\n", $$1, $$2}'

run: .venv/ready ## run the whole system on an embedded AWS; Ctrl-C stops it
	@exec $(PY) -m ops.local run

up: .venv/ready ## run the system in the background; return when it is ready
	@$(PY) -m ops.local up

down: .venv/ready ## stop the system that `make up` started
	@$(PY) -m ops.local down

local: .venv/ready ## run `chalice local` with reload, on the embedded AWS of `make up`
	@exec $(PY) -m ops.local local $(if $(PORT),--port "$(PORT)")

test: .venv/ready ## run the quick unit, integration, end-to-end and browser tests, in about five minutes on two processors
	@scripts/setup-browser
	@$(PYTEST) -m "not exhaustive" tests/unit tests/integration tests/e2e tests/browser

check: .venv/ready lint types layers ## run the CI gate: formatting, lint, types, layers, all quick tests with branch coverage, then all others
	@scripts/setup-browser all
	@$(PYTEST) -m "not exhaustive" --cov --cov-report=term-missing:skip-covered
	@$(PYTEST) -m exhaustive

format: .venv/ready ## format the code
	@.venv/bin/ruff check --quiet --fix --select I . && .venv/bin/ruff format .

lint: .venv/ready .local/checkov/ready ## check formatting, code, prose and the template
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@$(PY) scripts/lint_prose.py
	@.venv/bin/cfn-lint infrastructure/*.yaml
	@.local/checkov/bin/checkov --framework cloudformation --skip-download --quiet --compact --directory infrastructure

types: .venv/ready ## check the types
	@STAGE=local .venv/bin/mypy

layers: .venv/ready ## check which modules import which
	@.venv/bin/lint-imports --no-logo

simulate: .venv/ready ## run SEEDS random interleavings from seed FIRST; a failure prints its seed and schedule
	@$(PY) -m tests.resilience.simulate --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)

load: .venv/ready ## send EVENTS increments while functions crash, responses get lost and the embedded AWS restarts; then rebuild REBUILT_EVENTS under traffic
	@$(PY) -m tests.resilience.load --events $(or $(EVENTS),20000) --seed $(or $(SEED),1)
	@REBUILT_EVENTS=$(or $(REBUILT_EVENTS),50000) $(PY) -m pytest -q tests/e2e/test_maintenance.py -k under_traffic

mutants: .venv/ready ## apply each deliberate bug and check that its test fails; write docs/mutants.md
	@$(PY) -m tests.resilience.mutants

bench: .venv/ready ## measure costs, faults and times; write docs/benchmarks.md, cost.md, scale.md; SECTIONS and SIZES select parts
	@SIZES="$(SIZES)" $(PY) -m benchmarks $(SECTIONS)

bench-quick: .venv/ready ## run a quick benchmark into .local/bench (a few minutes)
	@$(PY) -m benchmarks --quick $(SECTIONS)

scale: .venv/ready ## simulate growing load; write docs/scale.md; VALIDATE=1 compares the model with the embedded AWS
	@$(PY) -m benchmarks scale $(if $(VALIDATE),validation)

cost: .venv/ready ## compute what a million increments cost; write docs/cost.md; MEASURE=1 measures the functions first
	@$(PY) -m benchmarks $(if $(MEASURE),function_steps,--render)

images: .venv/ready ## draw the page's icons and social preview
	@scripts/setup-browser
	@$(PY) scripts/draw_images.py

screenshots: .venv/ready ## take the screenshots in docs/images
	@scripts/setup-browser
	@$(PY) scripts/screenshots.py

openapi: .venv/ready ## generate chalicelib/extras/openapi.json
	@STAGE=local $(PY) -m ops.openapi.document

embed: ## bundle web/embed/ and web/client/ into web/embed.js, with esbuild, terser and swc from npm
	@scripts/setup-npm embed
	@node scripts/embed/build.mjs web/embed.js

lighthouse: ## audit the page of `make up`, or of URL, with Lighthouse in Chromium; print its scores
	@scripts/setup-browser
	@scripts/setup-npm lighthouse
	@[ -n "$(URL)" ] || [ -e .local/env ] || { echo "No page is served: run make up, or set URL" >&2; exit 1; }
	@[ -n "$(URL)" ] || . ./.local/env; node scripts/lighthouse/audit.mjs "$(or $(URL),$${PAGE_URL}#/clicks)"

pins: .venv/ready ## write requirements.txt and requirements/*.txt with hashes from their .in files; UPGRADE=1 selects the latest versions
	@for name in requirements requirements/jwt requirements/sql requirements/dev requirements/checkov; do \
	    case $$name in requirements|requirements/jwt|requirements/sql) deps=--no-deps ;; *) deps= ;; esac; \
	    UV_CUSTOM_COMPILE_COMMAND='make pins' .venv/bin/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal \
	        --python-version 3.11 --generate-hashes --strip-extras --no-annotate --no-emit-index-url --no-emit-find-links \
	        $$deps $$name.in -o $$name.txt || exit 1; done

clean: ## stop the local system; remove folders of killed tests, .venv, .local, caches and built packages
	@if [ -e .venv/ready ]; then $(PY) -m ops.local down; $(PY) -m testkit.run_folder; fi
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	@rm -rf .venv .local .*_cache .hypothesis .coverage .coverage.* build .chalice/deployments

.venv/ready: requirements/dev.txt scripts/setup
	@scripts/setup

.local/checkov/ready: requirements/checkov.txt scripts/setup-checkov | .venv/ready
	@scripts/setup-checkov
