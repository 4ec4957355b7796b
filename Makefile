# make install: the environment.   make demo: install, then the main job on drawn videos.   make test: the tests.   make check: what CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DATA ?= ../shared/data

.PHONY: install demo test test-slow test-browser test-oldest fuzz check lint types docs commands licences bench fewshot clean

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
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --durations=25

test-slow: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --durations=25 -m 'slow and not fuzz'

# In Debian's chromium (`apt-get install chromium chromium-driver`); without it they fail.
test-browser: $(VENV)/.installed
	$(BIN)/pytest -m browser tests/browser

# The lowest versions that pyproject.toml allows, of everything but torch and torchvision.
$(VENV)-oldest/.installed: pyproject.toml tools/oldest.py
	$(PYTHON) -m venv $(VENV)-oldest
	$(PYTHON) tools/oldest.py > $(VENV)-oldest/constraints.txt
	$(VENV)-oldest/bin/pip install --quiet --editable '.[dev]' --constraint $(VENV)-oldest/constraints.txt
	touch $@

test-oldest: $(VENV)-oldest/.installed
	OMP_NUM_THREADS=1 $(VENV)-oldest/bin/pytest -n 2 --dist loadfile --durations=25

# Over 100,000 changed files, and thousands of drawn lists and names; SEED is another each time.
SEED ?= 1
fuzz: $(VENV)/.installed
	OMP_NUM_THREADS=1 FUZZ_SEED=$(SEED) FUZZ_TEXT=3000 $(BIN)/pytest -m 'fuzz or not slow' tests/faults/test_fuzz.py

licences: $(VENV)/.installed
	$(BIN)/python tools/licences.py > docs/dependencies.md

# The pages, as a site in build/site.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The page of commands, from the parser.
commands: $(VENV)/.installed
	$(BIN)/python -m tools.commands > docs/commands.md

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test test-slow

# The peers that are measured beside; the tables say which are missing. torchcodec's wheels from 0.14 on do not import
# beside a CPU build of torch; it has a folder of its own, since `datasets` would otherwise take it for videos.
$(VENV)/.peers: $(VENV)/.installed
	-$(BIN)/pip install --quiet --editable '.[dev,bench]'
	-$(BIN)/pip install --quiet --no-deps --target $(VENV)/torchcodec 'torchcodec>=0.13,<0.14'
	touch $@

# Half an hour on two cores with nothing beside; rewrites its part of BENCHMARKS.md.
bench: $(VENV)/.peers
	PYTHONPATH=$(VENV)/torchcodec $(BIN)/python -m benchmarks --data $(DATA) --out BENCHMARKS.md

# Half an hour: accuracy with few labels.
fewshot: $(VENV)/.installed
	$(BIN)/python -m benchmarks.fewshot --data $(DATA)

clean:
	rm -rf $(VENV) $(VENV)-oldest demo build dist
