# Two commands carry a fresh machine to a result: `make demo` and `make test`. Each sets up what it needs, once.

VENV ?= .venv
STAMPS = $(VENV)/stamps
MESHCAST = $(VENV)/bin/meshcast
PYTEST = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal

export VENV PYTHON MESHCAST_SKIP_SCATTER

.PHONY: help demo test test-slow torture bench lint format setup constraints clean clean-stamps
.DEFAULT_GOAL := help

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

demo: $(STAMPS)/core ## the whole path on data made here: simulate, train, forecast, verify, report under runs/
	$(MESHCAST) demo

test: $(STAMPS)/test ## the tests, but for the slow ones
	$(PYTEST) -m "not slow"

test-slow: $(STAMPS)/slow ## the slow tests
	$(PYTEST) -m slow

torture: $(STAMPS)/slow ## kills, failing disks, damaged inputs and pairs of commands for MINUTES=30, from SEED=0
	$(VENV)/bin/python -m tests.torture --minutes $(or $(MINUTES),30) --seed $(or $(SEED),0)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.torture.training_kills --minutes $(or $(MINUTES),30) --seed $(or $(SEED),0)

bench: $(STAMPS)/core ## what layers, networks, graphs and reading cost, into docs/performance.md; DEVICE=cpu or cuda
	$(VENV)/bin/python benchmarks/performance.py --device $(or $(DEVICE),cpu) \
		--output results/performance/$(or $(DEVICE),cpu).json --page docs/performance.md

lint: $(STAMPS)/lint ## style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(STAMPS)/lint ## mend what of the style can be mended by machine
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

setup: $(STAMPS)/all ## everything a developer needs, in .venv

constraints: $(STAMPS)/all ## write constraints.txt anew from what is installed
	scripts/freeze.sh > constraints.txt.new && mv constraints.txt.new constraints.txt

clean: ## remove the environment and every cache, keep runs/
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-stamps: ## let the next command check the set-up again
	rm -rf $(STAMPS)

# One stamp a set of extras. They share one environment, so they must not be made side by side.
.NOTPARALLEL:
INSTALL = scripts/setup.sh $(1) && mkdir -p $(STAMPS) && touch $@
SET_UP_FROM = pyproject.toml constraints.txt scripts/setup.sh

$(STAMPS)/core: $(SET_UP_FROM)
	$(call INSTALL,)
$(STAMPS)/test: $(SET_UP_FROM)
	$(call INSTALL,test)
$(STAMPS)/slow: $(SET_UP_FROM)
	$(call INSTALL,test crosscheck tensorflow tracking)
$(STAMPS)/lint: $(SET_UP_FROM)
	$(call INSTALL,test lint)
$(STAMPS)/all: $(SET_UP_FROM)
	$(call INSTALL,test lint notebooks crosscheck tensorflow tracking)
