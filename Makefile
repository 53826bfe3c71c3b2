# make example: set up, then the main job on the embedded example.
# make test: set up what is missing, then all checks.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: example test setup setup-dev benchmark benchmark-scaling

example: setup
	$(BIN)/snakemake --cores all

test: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint
	tests/slurm/install.sh
	$(BIN)/python -m pytest

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
