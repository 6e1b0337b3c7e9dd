# make train, make test: all that is needed, the environment included. See README.md.

PYTHON ?= python3
CONFIG ?= configs/quickstart.yaml
ARGS ?=
BIN := .venv/bin
ENVIRONMENT := .venv/.complete

.PHONY: train board test test-all check clean

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

clean:  ## Remove the environment and what tools left; runs stay
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache

# Made anew when requirements.txt changes; complete only when the last line was reached.
$(ENVIRONMENT): requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@
