# `make demo` and `make test` need Python 3.11+, git and make, and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Else each of the many programs that tests start would compile its imports anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help docs demo test check coverage github-descriptions axe bench lint format lock up down clean

help: ## What can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv is bootstrapped into the venv from its own hash-locked file, then installs the rest from the lock.
$(STAMP): requirements/uv.txt requirements/dev.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

install: $(STAMP)

demo: $(STAMP) ## The whole story on this machine; ARGS=--once ends by itself
	@$(BIN)/pinrail demo $(ARGS)

test: $(STAMP) ## All tests; those that need docker run where an engine answers
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint ## Lint and the quick tests, in under a minute: for the inner loop
	@$(BIN)/python -m pytest -n 2 --dist loadfile -q -m "not slow" $(ARGS)

coverage: $(STAMP) ## Line coverage of the quick tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile -q -m "not slow" --cov=receiver --cov=ml --cov=serving \
	  --cov-report=term:skip-covered $(ARGS)

# GitHub's own description of its API and examples of its webhooks, which the GitHub tests check against. They skip
# without; npm is needed for this alone. Of some 400 MB one file is kept.
GITHUB := tests/support/github
$(GITHUB)/node_modules/.installed: $(GITHUB)/package-lock.json
	@npm ci --prefix $(GITHUB) --ignore-scripts --no-audit --no-fund --loglevel=error
	@find $(GITHUB)/node_modules/@octokit/openapi/generated -type f ! -name api.github.com.json -delete
	@touch $@

github-descriptions: $(GITHUB)/node_modules/.installed ## What the GitHub tests check against; needs npm

# Finds what keeps people from using a page. The browser tests leave it out where it is not here.
AXE := tests/support/axe
$(AXE)/node_modules/.installed: $(AXE)/package-lock.json
	@npm ci --prefix $(AXE) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

axe: $(AXE)/node_modules/.installed ## What the browser tests check pages with; needs npm

lint: $(STAMP) ## ruff, mypy strict, import rules, workflows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/zizmor --offline --quiet .github/workflows receiver/cli/starter/files/workflows/*.yml

format: $(STAMP) ## Let ruff put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP) ## Measure serving, swaps and reconciling beside the goals; needs wrk; writes docs/benchmarks.md
	@$(BIN)/python -m tests.bench $(ARGS)

docs: $(STAMP) requirements/docs.txt ## The site of the docs in .site, built strictly: links, anchors, reference
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/docs.txt
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --config-file docs/site/mkdocs.yml

lock: ## Write requirements/*.txt anew from pyproject.toml
	@sh requirements/lock.sh

up: $(STAMP) ## MLflow on Postgres, the serving image, then the receiver, which brings up the environments
	@sh compose/platform.sh up
	@$(BIN)/pinrail build
	@set -a && . ./.pinrail/receiver.env && PINRAIL_TARGET=compose $(BIN)/pinrail up $(ARGS)

down: $(STAMP) ## End model servers and platform; all data stays
	@$(BIN)/pinrail down
	@sh compose/platform.sh down

clean: ## Remove the venv and caches; state in .pinrail stays
	rm -rf $(VENV) .venv-bench .site .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
