# Everything sets itself up in .venv from a fresh clone with nothing but Python (>= 3.11) and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_READY := $(VENV)/.demo-ready
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
# More tests at once than there are processors: many wait for something. One file's tests stay together.
SIDE_BY_SIDE := --numprocesses=$(shell expr 2 '*' `nproc`) --dist=loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest $(SIDE_BY_SIDE)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo demo-serve test checks lint types-mypy types-pyright unit coverage wheel-test kernel rack rack-test rack-cycles rack-demo pi bench \
	pages docs site docs-serve twins format clean

help: ## List what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO_READY): pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[proxy]'
	@touch $@

$(READY): pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[test]'
	@touch $(DEMO_READY) $@

$(DOCS_READY): $(READY)
	$(PIP) install --editable '.[docs]'
	@touch $@

demo: $(DEMO_READY) ## See what the library is for, on the simulation (20 seconds)
	$(BIN)/python examples/demo.py

demo-serve: $(DEMO_READY) ## The same proxy, left running for your browser
	$(BIN)/python examples/demo.py --serve

test: $(DOCS_READY) ## Run every check and test, side by side
	@$(MAKE) --no-print-directory --keep-going --output-sync --jobs lint types-mypy types-pyright site wheel-test

checks: lint types-mypy types-pyright ## Linter, formatter and both type checkers

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types-mypy: $(READY)
	$(BIN)/mypy

types-pyright: $(READY)
	$(BIN)/pyright --pythonpath $(BIN)/python

unit: $(READY) ## All tests, on the source as it is; those on a real kernel too once 'make kernel' has run
	$(PYTEST) $(ARGS)

coverage: $(READY) ## What the tests that start no process do not reach
	$(PYTEST) -m "not slow and not kernel and not rack" --cov --cov-report=term-missing:skip-covered

wheel-test: $(READY) ## All tests but those on the rack, on the wheel, where the source is out of reach
# The + has its output shown as it comes, beside that of others.
	+$(BIN)/python tests/packaging/wheel.py $(SIDE_BY_SIDE) -m "not rack"

kernel: $(READY) ## Build the kernel lab: a Linux kernel as a process, with GPIO and I2C (minutes, once)
	$(BIN)/python -m tests.kernel.lab.building

rack: $(READY) ## Build the rack: whole Linux nodes as processes, with disks, consoles and a network (minutes, once; root)
	$(BIN)/python -m tests.rack.machine.building

# A node boots for ten seconds of a processor's time: two files at once are enough.
rack-test: rack ## Run the tests on whole Linux nodes (minutes; root)
	$(BIN)/python -m pytest tests/rack --numprocesses=2 --dist=loadfile --no-loadscope-reorder $(ARGS)

rack-cycles: rack ## Wake, write, halt and cut whole Linux nodes 50 times, and look at their disks (15 minutes; root)
	CLUSTERHAT_RACK_CYCLES=25 $(BIN)/python -m pytest tests/rack/test_halting.py -k idle $(ARGS)

rack-demo: rack ## See the proxy wake, halt and cut whole Linux nodes, and what becomes of their disks (a minute; root)
	$(BIN)/python -m tests.rack.demo

# The build says why where a Pi cannot be emulated (exit code 3), and the tests are skipped then.
pi: $(READY) ## Run the tests on an emulated Raspberry Pi 3B: a real I2C and GPIO driver (minutes)
	@$(BIN)/python -m tests.pi.machine.building || test $$? = 3
	$(BIN)/python -m pytest tests/pi/emulated $(ARGS)

bench: $(READY) ## Measure what is promised, side by side with something else
	$(BIN)/python -m tests.benchmarks

pages: $(READY) ## Write the code, tables and drawings that the documentation shows
	$(BIN)/python docs/pages.py

docs: pages site ## Build the documentation into site/

site: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: $(DOCS_READY) ## Read the documentation on http://127.0.0.1:8000
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

twins: $(READY) ## Make cluster.py from aio.py
	$(BIN)/python tests/packaging/unasync.py

format: $(READY) ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove what was built here
	rm -rf $(VENV) dist build site .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
