# make example: set up, then the main job on the embedded example.
# make check: set up what is missing, then lint, types and the tests that run no Snakemake: before every commit.
# make test: set up what is missing, then all checks.
PYTHON ?= $(firstword $(shell for python in 3.11 3.12 3.13; do command -v python$$python; done) python3.11)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet

.PHONY: example check test pages lint types unit setup setup-dev lock audit benchmark benchmark-scaling benchmark-memory benchmark-search benchmark-startup \
	benchmark-growth benchmark-gpu benchmark-training benchmark-explorer

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

benchmark-memory: setup-dev
	$(BIN)/python benchmarks/memory.py

benchmark-search: setup-dev
	$(BIN)/python benchmarks/search.py

benchmark-startup: setup-dev
	$(BIN)/python benchmarks/startup.py --run

benchmark-growth: setup-dev
	$(BIN)/python benchmarks/growth.py

benchmark-gpu: setup-dev
	$(BIN)/python benchmarks/gpu.py

benchmark-training: setup-dev
	$(BIN)/python benchmarks/training.py

benchmark-explorer: setup-dev
	$(BIN)/python benchmarks/explorer_waits.py

setup: .venv/.installed

setup-dev: .venv/.installed-dev

.venv/.installed: requirements.txt requirements-torch.txt requirements-pip.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes --requirement requirements-pip.txt
	$(PIP) --no-deps --require-hashes --requirement requirements.txt
	$(PIP) --requirement requirements-torch.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	$(PIP) --no-deps --require-hashes --requirement requirements-dev.txt
	touch $@

# The locks again, from the bounds of pyproject.toml; a pin moves only where a bound asks for it.
RUN_PINS = $(shell sed -nE 's/^([a-z0-9._-]+)==.*/--no-emit-package \1/p' requirements.txt)
lock: .venv-tools/.installed
	.venv-tools/bin/uv pip compile --quiet pyproject.toml --constraint requirements-torch.txt --output-file requirements.txt
	@.venv-tools/bin/uv pip compile --quiet pyproject.toml --extra dev --constraint requirements-torch.txt \
		--constraint requirements.txt $(RUN_PINS) --output-file requirements-dev.txt
	.venv-tools/bin/uv pip compile --quiet requirements-tools.in --output-file requirements-tools.txt
	.venv-tools/bin/uv pip compile --quiet requirements-pip.in --output-file requirements-pip.txt

# Known vulnerabilities of what is locked; torch is asked for by version alone.
audit: .venv-tools/.installed
	.venv-tools/bin/pip-audit --disable-pip --require-hashes --requirement requirements.txt
	.venv-tools/bin/pip-audit --disable-pip --no-deps --requirement requirements-torch.txt

.venv-tools/.installed: requirements-tools.txt
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/python -m pip install --quiet --no-deps --require-hashes --requirement requirements-tools.txt
	touch $@
