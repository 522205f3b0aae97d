# make run            sets up .venv and answers the main question
# make test           sets up .venv and passes the tests
# make test-slow      passes the tests that take minutes
# make test-browser   passes the tests that open TensorBoard and the report in Chromium
# make check          runs ruff, pyright and the import contract
# make docs           builds the site of docs/ into build/site: open build/site/index.html
# make reproduce      runs the experiments of the article and the laws and writes docs/evidence.md
# make frontier       the same for the questions of today: a night; either with QUICK=1 in little, into runs/evidence-quick
# make tournament     runs its worlds and judges rules: docs/tournament.md; a night, or with QUICK=1 in little
# make bench          measures speed against the engine's peers
# make clean          removes .venv and what was built
# make help           prints these lines
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: run reproduce frontier tournament test test-slow test-browser check bench docs clean help

run: $(VENV)/ready
	$(BIN)/python -m experiments.decay_values

reproduce: $(VENV)/ready
	$(BIN)/python scripts/reproduce.py $(if $(QUICK),--quick)

frontier: $(VENV)/ready
	$(BIN)/python scripts/reproduce.py --frontier $(if $(QUICK),--quick)

tournament: $(VENV)/ready
	$(BIN)/python scripts/tournament.py $(if $(QUICK),--quick)

test: $(VENV)/ready
	$(BIN)/python -m pytest -m "not slow and not browser" -n 2 --dist loadscope

test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow

test-browser: $(VENV)/ready
	$(BIN)/python -m pytest -m browser

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,data,bench]'
	$(BIN)/python scripts/bench.py

docs: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,data,docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,data]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps plotnine
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info

help:
	@sed -n 's/^# make/make/p' $(firstword $(MAKEFILE_LIST))
