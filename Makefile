# The doors of Keyturn. Needs Python 3.11 or newer, make and a package index; nothing else.
# Each environment is made when it is first needed, and again when its lock file has changed.

PYTHON   ?= python3
ENV      ?= default
SESSIONS ?=
CLUSTER  ?=
FAULT    ?=
MODE     ?=
FAIL     ?=

VENV   := .venv
BIN    := $(VENV)/bin
SAM    := .sam
SOURCE := layers/keyturn functions local tests
RUN    := PYTHONPATH=layers/keyturn:functions:.
# The lock files are complete, and pip's own resolver need not run.
INSTALL := -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r

.PHONY: help demo test check bench build deploy clean
.DEFAULT_GOAL := help

help: ## Show the doors
	@echo "Keyturn rotates the key that encrypts user sessions, and finishes the job."
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.local ## A whole rotation on this machine (MODE=emergency FAIL=rollout SESSIONS=2000)
	@$(RUN) SESSIONS=$(SESSIONS) CLUSTER=$(CLUSTER) FAULT=$(FAULT) \
		MODE=$(MODE) FAIL=$(FAIL) $(BIN)/python -m local.demo

test: $(VENV)/.dev ## All tests
	@echo "Running the tests, a file on each core at a time (some minutes)."
	@$(RUN) $(BIN)/python -m pytest -q -n auto --dist loadfile

check: $(VENV)/.dev $(SAM)/.sam ## Format, lint, types, imports, template
	@echo "Checking format, lint, types, imports and the template."
	@$(BIN)/ruff format --check --quiet $(SOURCE)
	@$(BIN)/ruff check --quiet $(SOURCE)
	@$(BIN)/mypy layers/keyturn/keyturn functions/*.py local tests
	@$(RUN) $(BIN)/lint-imports --no-cache
	@AWS_DEFAULT_REGION=eu-central-1 SAM_CLI_TELEMETRY=0 $(SAM)/bin/sam validate --lint
	@$(SAM)/bin/cfn-lint template.yaml
	@echo "All checks passed."

bench: $(VENV)/.dev ## Speed and size, as ratios against named baselines
	@$(RUN) $(BIN)/python -m tests.bench

build: $(SAM)/.sam ## The artefacts that are deployed (needs python3.13)
	@command -v python3.13 >/dev/null || { echo "sam build needs python3.13 on the PATH."; exit 1; }
	@SAM_CLI_TELEMETRY=0 $(SAM)/bin/sam build

deploy: build ## Deploy with samconfig.toml (ENV=staging)
	@$(SAM)/bin/sam deploy --config-env $(ENV)

clean: ## Remove what the other doors have made
	rm -rf $(VENV) $(SAM) .aws-sam out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Keyturn needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making $(VENV)."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.local: requirements/local.txt | $(VENV)/bin/python
	@test -e $(VENV)/.dev || { echo "Installing what the demo needs (about 70 packages)." \
		&& $(BIN)/python $(INSTALL) $<; }
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/bin/python
	@echo "Installing what the tests need (about 90 packages)."
	@$(BIN)/python $(INSTALL) $<
	@touch $@ $(VENV)/.local

$(SAM)/.sam: requirements/sam.txt
	@echo "Making $(SAM) for aws-sam-cli, which pins its own dependencies."
	@$(PYTHON) -m venv $(SAM)
	@$(SAM)/bin/python $(INSTALL) $<
	@touch $@
