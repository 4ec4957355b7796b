# make install: the environment.   make demo: install, then the main job on drawn videos.   make test: the tests.   make check: what CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DATA ?= ../shared/data

.PHONY: install demo test test-slow check lint types bench clean

# The venv is made again only when the package's metadata changes.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/texthead demo --out demo

# Two processes of one thread; a file's tests stay together, since they share what they draw.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

test-slow: $(VENV)/.installed
	$(BIN)/pytest -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test test-slow

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.mini
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.fewshot --data $(DATA)

clean:
	rm -rf $(VENV) demo build dist
