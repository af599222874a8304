# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Both set up .venv first, once; a second run goes straight to the work.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench bench-peers clean

help:           ## what can be made here
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: $(READY) ## make .venv with datasnap and all that its tests need

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "datasnap needs Python 3.11 or newer; name one with: make PYTHON=python3.12 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,demo]'
	@touch $@

demo: $(READY)  ## import TPC-H, branch it, add a feature, query both versions (SCALE=0.1)
	@PATH="$(CURDIR)/$(BIN):$$PATH" SCALE="$(SCALE)" bash scripts/demo.sh

test: $(READY)  ## the whole suite
	@$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(READY) ## lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY) ## let ruff put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## the README's figures, as ratios to baselines of the same run
	@$(BIN)/python scripts/bench/bench.py $(ARGS)

bench-peers: $(READY) ## the same beside Lance and DuckLake, each in an environment of its own
	@$(BIN)/python scripts/bench/peers.py $(ARGS)

clean:          ## remove what was made here
	rm -rf $(VENV) build dist demo-repo .pytest_cache .mypy_cache .ruff_cache .hypothesis
