# make train, make test: all that is needed, the environment included. See README.md.

PYTHON ?= python3
CONFIG ?= configs/quickstart.yaml
ARGS ?=
BIN := .venv/bin
ENVIRONMENT := .venv/.complete
DOCS_ENVIRONMENT := .venv-docs/.complete

.PHONY: train board test test-all check docs clean

train: $(ENVIRONMENT)  ## Train: make train CONFIG=configs/... ARGS="..."
	$(BIN)/python train.py fit --config $(CONFIG) $(ARGS)

board: $(ENVIRONMENT)  ## Show all runs in TensorBoard
	$(BIN)/tensorboard --logdir runs

test: $(ENVIRONMENT)  ## What is tested in minutes
	$(BIN)/python -m pytest -n auto --maxprocesses 8

test-all: $(ENVIRONMENT)  ## All tests: end to end, several processes, compilers
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal -m ""

check: $(ENVIRONMENT)  ## Style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(DOCS_ENVIRONMENT)  ## Build the site: docs/_build/index.html
	.venv-docs/bin/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build
	@echo "docs/_build/index.html"

clean:  ## Remove the environments and what tools left; runs stay
	rm -rf .venv .venv-docs docs/_build build *.egg-info .mypy_cache .ruff_cache .pytest_cache

# Made anew when requirements.txt changes; complete only when the last line was reached. It has the command gan, too.
$(ENVIRONMENT): requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# Sphinx in an environment of its own, by the same Python; a .pth file adds the packages of .venv. docs/conf.py says why.
$(DOCS_ENVIRONMENT): docs/requirements.txt $(ENVIRONMENT)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make docs needs a .venv of Python 3.11 or newer")'
	rm -rf .venv-docs
	$(BIN)/python -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --requirement docs/requirements.txt
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(.venv-docs/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth"
	touch $@
