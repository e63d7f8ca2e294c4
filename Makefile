# One environment (.venv) serves every command; it is renewed when the requirements change.
# Needs Python 3.11 or newer, make and a package index. Choose the interpreter by PYTHON=..., the
# extras by EXTRAS=... (on a machine with a CUDA device: make demo EXTRAS=gpu,dev).

PYTHON ?= python3
EXTRAS ?= cpu,dev
ARGS ?=
SECONDS ?= 60

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(EXTRAS)
BENCHMARKS := $(wildcard benchmarks/bench_*.py)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check fuzz bench docs golden clean

help: ## say what there is to run (this is the default)
	@echo "latentlake: make TARGET [ARGS=...] [PYTHON=python3.12] [EXTRAS=cpu,dev]"
	@echo
	@sed -n 's/^\([a-z.]*\): .*## \(.*\)/  \1	\2/p' $(MAKEFILE_LIST) | expand -t 12
	@echo
	@echo "Begin with 'make demo'. Every target sets up $(VENV) first where that is needed."

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "latentlake needs Python 3.11 or newer, and '$(PYTHON)' is not." \
	       "Name another one: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' failed; Debian and Ubuntu have it in the package python3-venv." >&2; exit 1; }
	@echo "Installing .[$(EXTRAS)] into $(VENV): some 200 packages, a minute or two."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

.venv: $(STAMP) ## set up the environment

demo: $(STAMP) ## run the whole pipeline on the bundled photos and abstracts, in ./demo
	@$(BIN)/latentlake demo $(ARGS)

test: $(STAMP) ## run the tests (ARGS="-k shards -x" goes to pytest)
	@$(BIN)/python -m pytest $(ARGS)

check: $(STAMP) ## lint, format, types, layers, spelling: what pre-commit and CI run
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

fuzz: $(STAMP) ## fuzz every reader of foreign bytes, SECONDS=60 together (ARGS="image text" chooses)
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

bench: $(STAMP) ## run every benchmarks/bench_*.py
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script $(ARGS); done

docs: $(STAMP) ## build the documentation into ./site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "site/index.html"

golden: $(STAMP) ## write the golden files anew (look at the diff before you commit it)
	@$(BIN)/python -m pytest --update-golden $(ARGS)

clean: ## remove the environment, caches, ./demo and ./site; a lake is never touched
	rm -rf $(VENV) demo site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
