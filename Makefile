PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help

help: ## Show what there is to make.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[codings,sklearn,test]'
	@touch $@

install: $(INSTALLED) ## Make .venv and install everything into it.

demo: $(INSTALLED) ## Start MLflow, two trained models and their servers.
	$(BIN)/python -m demo

test: $(INSTALLED) lint ## Lint, check types and run the tests.
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(INSTALLED) ## Lint and check types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED) ## Write the table of settings in docs/settings.md.
	$(BIN)/python -m tests.docs.settings_table

screenshot: $(INSTALLED) ## Take README's picture, docs/promotion.png; needs Chromium.
	$(BIN)/python -W ignore -m tests.docs.screenshot

bench: $(INSTALLED) ## Measure throughput against other servers.
	$(BIN)/python -m benchmarks throughput

bench-swap: $(INSTALLED) ## Measure latency while versions are swapped.
	$(BIN)/python -m benchmarks swap

bench-payloads: $(INSTALLED) ## Measure large requests, of several kinds.
	$(BIN)/python -m benchmarks payloads

bench-workers: $(INSTALLED) ## Measure memory of workers, and losing them; BEFORE=DIRECTORY compares.
	$(BIN)/python -m benchmarks workers $(if $(BEFORE),--before $(BEFORE))

bench-waiting: $(INSTALLED) ## Measure models that wait and stream; BEFORE=DIRECTORY compares.
	$(BIN)/python -m benchmarks waiting $(if $(BEFORE),--before $(BEFORE))

bench-models: $(INSTALLED) ## Measure types of models, each with its library; BEFORE=DIRECTORY compares.
	$(BIN)/python -m benchmarks models $(if $(BEFORE),--before $(BEFORE))

chaos: $(INSTALLED) ## Put a stack through CHAOS_SECONDS (60) of faults under load.
	$(BIN)/python -W ignore -m tests.end_to_end.chaos

fuzz: $(INSTALLED) ## Send and answer random bytes for FUZZ_SECONDS (60); FUZZ_SEED=NUMBER repeats a run.
	$(BIN)/python -W ignore -m tests.fuzz

test-faults: $(INSTALLED) ## Try the slower faults: crashes, hangs, the registry, full disks.
	$(BIN)/python -m pytest -m 'faults and untimed' -n 2 --dist loadgroup
	$(BIN)/python -m pytest -m 'faults and not untimed'

test-containers: $(INSTALLED) ## Build the images and try the whole stack; needs a Docker engine.
	$(BIN)/python -m pytest -s -m containers tests/containers

clean: ## Remove everything that was made.
	rm -rf $(VENV) .bench .demo .mypy_cache .pytest_cache .ruff_cache build *.egg-info

.PHONY: help install demo test lint format docs screenshot bench bench-swap bench-payloads bench-workers bench-waiting bench-models chaos fuzz test-faults test-containers clean
