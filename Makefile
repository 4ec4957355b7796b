# make install: the environment.   make demo: install, then the demo.   make test: the quick tests.   make check: lint, types, quick tests.   make nightly: the rest.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DATA ?= ../shared/data

.PHONY: install demo test test-pythons test-slow test-stories nightly test-browser test-oldest test-windows fuzz check lint types docs pictures commands messages licences constraints notebooks dist bench fewshot clean

# Runs again only when the package's metadata changes.
$(VENV)/.installed: pyproject.toml paper/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	# Python 3.11 brings a pip that resolves in twice the time.
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --no-compile --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps --editable ./paper
	# pip would compile on one core. Packages hold some files for other versions of Python, which do not compile.
	$(BIN)/python -m compileall -qq -j 0 -x /tests/ $(VENV)/lib > $(VENV)/compileall.log 2>&1 || true
	touch $@

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/texthead demo --out demo

# Two processes of one thread each; the tests of a file stay in one process, since they share fixtures.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --durations=25

# The quick tests on other versions of Python, each in an environment of its own.
PYTHONS ?= python3.12 python3.13
test-pythons:
	for python in $(PYTHONS); do $(MAKE) test PYTHON=$$python VENV=$(VENV)-$$(basename $$python) || exit 1; done

# Files that take minutes come first (tests/conftest.py).
PARALLEL = OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=40

# The slow tests of commands, training and runs, about 30: CI runs them after the quick tests.
test-stories: $(VENV)/.installed
	$(PARALLEL) -m 'slow and not fuzz' tests/commands tests/training tests/runs

# The slow tests, and the nightly ones of files that changed since the last `make nightly` (tests/nightly.json).
test-slow: $(VENV)/.installed
	$(PARALLEL) -m '(slow or nightly) and not fuzz' --skip-unchanged

# All that CI leaves out: slow tests, pages of docs/, rows of the paper, faults, benchmarks, demo, notebooks, wheel, locales.
# Commit tests/nightly.json, which it writes if all pass.
nightly: $(VENV)/.installed
	$(PARALLEL) -m '(slow or nightly) and not fuzz'
	$(BIN)/python -m tools.nightly

# axe-core finds elements that a keyboard or a screen reader cannot use, and colours with too little contrast.
build/axe/axe.min.js:
	mkdir -p build/axe
	cd build/axe && npm pack --silent axe-core@4 && tar -xzf axe-core-*.tgz --strip-components 1 package/axe.min.js

# Needs Debian's chromium and npm (`apt-get install chromium chromium-driver npm`).
test-browser: $(VENV)/.installed build/axe/axe.min.js
	$(BIN)/pytest -m browser tests/browser

# The lowest versions that pyproject.toml allows, of everything but torch and torchvision.
$(VENV)-oldest/.installed: pyproject.toml tools/oldest.py
	$(PYTHON) -m venv $(VENV)-oldest
	$(PYTHON) tools/oldest.py > $(VENV)-oldest/constraints.txt
	$(VENV)-oldest/bin/pip install --quiet --editable '.[dev]' --constraint $(VENV)-oldest/constraints.txt
	$(VENV)-oldest/bin/pip install --quiet --no-deps --editable ./paper
	touch $@

test-oldest: $(VENV)-oldest/.installed
	OMP_NUM_THREADS=1 $(VENV)-oldest/bin/pytest -n 2 --dist loadfile --durations=25

# The quick tests with Python for Windows on Wine; one of the nightly runs, half an hour. WINPYTHON runs that Python; the
# default is installed, if build/windows does not exist and ../shared/windows/setup.sh does.
WINPYTHON ?= build/windows/winpython
test-windows: $(VENV)/.installed
	$(BIN)/python -m tools.windows $(WINPYTHON)

# Over 100,000 damaged files; give another SEED each time.
SEED ?= 1
fuzz: $(VENV)/.installed
	OMP_NUM_THREADS=1 FUZZ_SEED=$(SEED) $(BIN)/pytest -m 'fuzz or not slow' tests/faults/test_fuzz.py

# The licences of all dependencies; fails if one is unknown or not allowed.
licences: $(VENV)/.installed
	$(BIN)/python -m tools.licences

# Pins for a release: the installed versions as on the package index (no +cpu), for every platform, with the hashes of all
# files. uv uses pip's index.
INDEX = $$($(BIN)/pip config list | sed -n "s/^.*\.index-url='\(.*\)'$$/\1/p" | tail -n 1)
COMPILE = UV_DEFAULT_INDEX="$(INDEX)" $(BIN)/uv pip compile pyproject.toml --quiet --no-config --universal --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command 'make constraints' --constraints build/installed.txt
constraints: $(VENV)/.installed
	mkdir -p build
	$(BIN)/pip freeze --exclude-editable | sed 's/+.*//' > build/installed.txt
	$(COMPILE) --output-file constraints/core.txt
	$(COMPILE) --extra all --output-file constraints/extras.txt

# Wheel, sdist, and the software bill of materials of the wheel and what it requires, in the versions of constraints/core.txt.
# The wheel is built twice: its bill needs an installed wheel, and the wheel holds the bill (hatch_build.py).
SBOM = build/sbom/bin/python
BILL = build/texthead.cdx.json
dist: $(VENV)/.installed
	rm -rf dist build/sbom $(BILL)
	$(BIN)/python -m build --no-isolation --wheel
	$(PYTHON) -m venv --without-pip build/sbom
	sed 's/ \\$$//; /--hash/d' constraints/core.txt > build/core.txt
	$(BIN)/pip --python $(SBOM) install --quiet --constraint build/core.txt dist/*.whl
	# Again by name, to keep the wheel's path out of the bill.
	$(BIN)/pip --python $(SBOM) install --quiet --force-reinstall --no-deps --no-index --find-links dist texthead
	$(BIN)/pip --python $(SBOM) check
	sed "s/^dynamic = .*/version = \"$$(ls dist/*.whl | cut -d - -f 2)\"/" pyproject.toml > build/pyproject.toml
	$(BIN)/cyclonedx-py environment $(SBOM) --pyproject build/pyproject.toml --mc-type library \
		--output-reproducible --output-file $(BILL)
	# Both from the checkout: the sdist, from which a wheel is made otherwise, has no bill.
	$(BIN)/python -m build --no-isolation --sdist --wheel
	$(BIN)/python -m zipfile --list dist/*.whl | grep --quiet dist-info/sboms/
	$(BIN)/twine check --strict dist/*
	cp $(BILL) "$$(ls dist/*.whl).cdx.json"
	cd dist && sha256sum * > SHA256SUMS

# The site, in build/site.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Every picture of the README and the docs, from real runs; those of real data need the folder DATA.
pictures: $(VENV)/.installed
	rm -rf build/pictures
	$(BIN)/python -m tools.pictures --data $(DATA)
	$(BIN)/python -m tools.charts

# The list of options with their defaults, from the parser.
commands: $(VENV)/.installed
	$(BIN)/python -m tools.flags

# The messages of errors, notes and results, from the sources; read the diff.
messages: $(VENV)/.installed
	$(BIN)/python -m tools.messages

# The notebooks with their outputs.
notebooks: $(VENV)/.installed
	$(BIN)/python -m tools.notebooks

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/pyright --pythonpath $(BIN)/python

# pyright uses one core, so it runs beside the tests.
check: lint
	$(MAKE) -j 2 types test
	$(MAKE) test-stories

# The libraries to compare with; the tables say which are missing. torchcodec's wheels from 0.14 on do not import with a CPU
# build of torch; it has a folder of its own, since `datasets` would use it for videos if it could.
$(VENV)/.peers: $(VENV)/.installed
	-$(BIN)/pip install --quiet --editable '.[dev,bench]'
	-$(BIN)/pip install --quiet --no-deps --target $(VENV)/torchcodec 'torchcodec>=0.13,<0.14'
	touch $@

# On two idle cores, a quarter of an hour; rewrites this processor's column in BENCHMARKS.md. Goes on with the sections missing
# in build/bench.
bench: $(VENV)/.peers
	PYTHONPATH=$(VENV)/torchcodec $(BIN)/python -m benchmarks --data $(DATA) --out BENCHMARKS.md

# The table of accuracy with few labels.
fewshot: $(VENV)/.installed
	$(BIN)/python -m benchmarks.choosing --data $(DATA)

clean:
	rm -rf $(VENV) $(VENV)-oldest demo build dist
