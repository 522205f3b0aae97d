# make run    sets up .venv and answers the main question
# make test   sets up .venv and passes the tests
# make literature   runs the experiments on statements of the literature
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: run literature test test-slow check bench clean

run: $(VENV)/ready
	$(BIN)/python -m experiments.decay_values

literature: $(VENV)/ready
	$(BIN)/python -m experiments.literature.rotational_equilibrium
	$(BIN)/python -m experiments.literature.gradients_at_the_end
	$(BIN)/python -m experiments.literature.double_descent
	$(BIN)/python -m experiments.literature.krogh_hertz

test: $(VENV)/ready
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/ready
	$(BIN)/python scripts/bench.py

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
