# Every target sets itself up: `make demo` and `make test` work in a fresh clone with Python 3.11+, git and make.
#
#   make demo               train on 5,000 digits with seven callbacks, then show where to look
#   make demo DEVICES=2     the same with two processes
#   make demo TASK=boxes    on drawn shapes: also TASK=segmentation and TASK=multilabel
#   make test               lint, types, documentation and tests, the tests and `>>>` examples against the built wheel
#   make test PYTEST_ARGS="-k mosaic -x"
#   make test-page          the tests of a run's page in headless Chromium; `make test` has them where one is installed
#   make test-long          also the tests that take minutes
#   make test-engines       training under torchrun, Ray and SLURM's variables; installs Ray, about 100 MB
#   make test-packages      training code of public packages, with callbacks appended, in an environment of its own
#   make test-matrix        the tests against old and new Lightning, torch, torchmetrics and wandb: docs/versions.md
#   make test-matrix MATRIX="oldest newest"
#   make bench              what the callbacks and their parts cost, beside what one would use instead
#   make bench BENCHMARKS="imports files"
#   make bench BENCH_ARGS=--quick    a small part of each, to see that it runs
#   make bench-gpu          the same bits, no waits and costs on a CUDA device; a small form on the CPU without one
#   make report             hold every metric of torchmetrics to the laws of lwcallbacks.testing, twenty minutes of CPU and more
#   make mutants            small changes of reductions, sync and testing: how many of them make a test fail; an hour of CPU
#   make mutants MUTANTS=reductions MUTANTS_ARGS="--number 0"    of one part every mutant, not a sample
#   make docs               the documentation, in docs/_build/html
#   make lint / format      ruff and mypy / let ruff rewrite
#   make clean              remove everything made here, the environment included

PYTHON ?= python3
DEVICES ?= 1
TASK ?= digits
DEMO_ARGS ?=
PYTEST_ARGS ?=
MATRIX ?=
BENCH_ARGS ?=
MUTANTS ?= reductions state testing strategies
MUTANTS_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PIP := $(BIN)/pip --disable-pip-version-check
CODE := lwcallbacks tests examples benchmarks docs
# With the folders, so that a file that goes away is noticed too.
SOURCES := $(shell find lwcallbacks -name __pycache__ -prune -o -print) pyproject.toml hatch_build.py README.md LICENSE

# What a user has set for another project must not leak in here: the tests are about the wheel in .venv.
unexport PYTHONPATH PYTHONHOME
export PIP_USER := 0

.PHONY: demo test test-page test-long test-engines test-packages test-matrix bench bench-gpu report mutants docs lint format clean
.DELETE_ON_ERROR:
.NOTPARALLEL:  # one environment, so one pip at a time

demo: $(STAMPS)/demo $(STAMPS)/package
	$(BIN)/python examples/demo.py --task $(TASK) --devices $(DEVICES) $(DEMO_ARGS)

# `pytest` and not `python -m pytest`: the latter would import lwcallbacks from the source tree.
RUN_TESTS = OMP_NUM_THREADS=1 $(BIN)/pytest

# Tests of one file stay together. Three workers keep two cores busy, since a third of the time tests wait for processes
# and servers; `make test WORKERS=0` runs all in one process.
WORKERS ?= 3

test: lint docs
	$(RUN_TESTS) -m "not long" -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

# Needs a Chromium of 123 or later by the name chromium, chromium-browser or google-chrome:
#   Debian                  apt install chromium
#   Ubuntu                  snap install chromium, or Chrome's own package
#   without root            pip install playwright && playwright install chromium, and its binary's folder in PATH
test-page: $(STAMPS)/dev $(STAMPS)/package
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
	  echo "No chromium in PATH: 'apt install chromium' gets it; see the Makefile for other ways."; exit 1; }
	$(RUN_TESTS) tests/writers/test_page.py tests/writers/test_page_units.py tests/sharing/test_compare_page.py $(PYTEST_ARGS)

# So many examples for each law and each of the 43 reductions and variants: more than 10,000 a law.
LONG_EXAMPLES ?= 400

test-long: lint docs
	LWCALLBACKS_EXAMPLES=$(LONG_EXAMPLES) $(RUN_TESTS) --timeout 3600 $(PYTEST_ARGS)

test-engines: $(STAMPS)/dev $(STAMPS)/ray $(STAMPS)/package
	$(RUN_TESTS) -m engines $(PYTEST_ARGS)

# The packages need other ones that the rest does not: .venv has none of them, and `make test` skips these tests.
PACKAGES := .venv-packages
REQUIREMENTS := $(wildcard tests/packages/*.txt)

test-packages: $(PACKAGES)/stamp $(STAMPS)/wheel
	$(PACKAGES)/bin/pip install --quiet --force-reinstall --no-deps dist/*.whl
	OMP_NUM_THREADS=1 $(PACKAGES)/bin/pytest tests/packages -m packages --timeout 900 $(PYTEST_ARGS)

$(PACKAGES)/stamp: $(REQUIREMENTS) pyproject.toml constraints.txt | $(STAMPS)/wheel
	rm -rf $(PACKAGES)
	$(PYTHON) -m venv $(PACKAGES)
	$(PACKAGES)/bin/pip --disable-pip-version-check install -c constraints.txt pytest pytest-timeout \
	  "$$(ls dist/*.whl)[wandb,tensorboard]" $(REQUIREMENTS:%=-r %)
	touch $@

# In environments of their own, below .venv-matrix: several GB each, and kept for the next run.
test-matrix: $(STAMPS)/wheel
	$(BIN)/python tests/matrix/run.py dist/*.whl $(MATRIX)

# The quick ones first; `make bench BENCHMARKS="gradients files"` runs these two.
BENCHMARKS ?= imports measuring exact_mean confusion_update confusion_chart curves naming choosing hardest pictures files \
  background page \
  many_parameters world_scaling payload sync_metrics gradients gradient_intervals checkpoints demo_overhead long_epochs

bench: $(STAMPS)/demo $(STAMPS)/dev $(STAMPS)/package  # dev: world_scaling imports lwcallbacks.testing
	@set -e; for name in $(BENCHMARKS); do OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$$name.py $(BENCH_ARGS); done

bench-gpu: $(STAMPS)/demo $(STAMPS)/package
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/gpu.py $(BENCH_ARGS)

report: $(STAMPS)/dev $(STAMPS)/package
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/torchmetrics_report.py --twice 15

mutants: $(STAMPS)/dev $(STAMPS)/package
	@set -e; for part in $(MUTANTS); do $(BIN)/python tests/mutation/run.py $$part $(MUTANTS_ARGS); done

docs: $(STAMPS)/dev $(STAMPS)/package
	$(BIN)/sphinx-build -q -W --keep-going -n -E -b html docs docs/_build/html

lint: $(STAMPS)/dev $(STAMPS)/package
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy lwcallbacks
	mkdir -p build && $(BIN)/python -m lwcallbacks.html > build/page.js && $(BIN)/oxlint -c .oxlintrc.json build/page.js

format: $(STAMPS)/dev
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean:
	rm -rf $(VENV) $(PACKAGES) .venv-matrix build dist docs/_build docs/callbacks .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, with no more in it than is needed to build the wheel.
$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "lwcallbacks needs Python 3.11 or newer, and '$(PYTHON)' is not ($$($(PYTHON) --version 2>&1))."; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt build hatchling
	$(PIP) install --quiet -c constraints.txt --no-deps uplot-python  # for its two files: it is never imported
	mkdir -p $(STAMPS) && touch $@

# The sdist, and from it the wheel: what would be published is what is run and tested.
$(STAMPS)/wheel: $(STAMPS)/venv $(SOURCES)
	rm -rf dist
	$(BIN)/python -m build --no-isolation --skip-dependency-check --outdir dist . > $(STAMPS)/build.log || { cat $(STAMPS)/build.log; exit 1; }
	touch $@

# What an extra requires. Pip is asked again only when the requirements or the pins change.
$(STAMPS)/demo $(STAMPS)/dev $(STAMPS)/ray: $(STAMPS)/%: $(STAMPS)/venv pyproject.toml constraints.txt | $(STAMPS)/wheel
	$(PIP) install -c constraints.txt "$$(ls dist/*.whl)[$*]"
	touch $@

# The package itself, whenever a source is newer. Targets name it after their requirements, and so it goes in last.
$(STAMPS)/package: $(STAMPS)/wheel
	$(PIP) install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@
