# make example: set up, then the main job on the embedded example.
# make check: set up what is missing, then lint, types and the tests that run no Snakemake: before every commit.
# make test: set up what is missing, then all checks.
PYTHON ?= $(firstword $(shell for python in 3.11 3.12 3.13; do command -v python$$python; done) python3.11)
BIN := .venv/bin

.PHONY: example check test pages lint types unit setup setup-dev benchmark benchmark-scaling

example: setup
	$(BIN)/snakemake --cores all

# Lint and types keep a core busy while the tests wait for their last files.
check: setup-dev
	$(MAKE) --jobs 3 --output-sync --no-print-directory lint types unit

test: setup-dev lint types
	tests/slurm/install.sh
	$(BIN)/python -m pytest

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

types: setup-dev
	$(BIN)/mypy

unit: setup-dev
	$(BIN)/python -m pytest -m "not snakemake"

# Everything in the texts that is written from tables, schema, citation and lock.
pages: setup
	$(BIN)/python -m dmin.settings.pages

benchmark: setup-dev
	$(BIN)/python benchmarks/gradients.py

benchmark-scaling: setup-dev
	$(BIN)/python benchmarks/scaling.py

setup: .venv/.installed

setup-dev: .venv/.installed-dev

.venv/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@
