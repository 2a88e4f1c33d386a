# make run | test | template | lint | format | pictures | audit | lock | licences | gpu | clean — each makes
# .venv first, if it is not there or its inputs have changed;
# make gpu alone uses whatever Python has torch installed already.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# A folder of wheels for what such a Python lacks, where there is no package index: make gpu WHEELS=DIR
WHEELS ?=
# Whom make audit asks for known vulnerabilities: pypi, osv or esms
SERVICE ?= pypi
AUDIT := $(VENV)/.audit

.PHONY: run test template lint format pictures audit lock licences gpu clean

run: $(INSTALLED)
	$(BIN)/python -m project.train experiment=lenet datamodule=digits

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# What the template's own files in src/project and conf keep to; a fork's files need not.
template: $(INSTALLED)
	$(BIN)/python -m pytest tests/house/template.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pictures of the README and of docs/, from runs of a minute; those of pages need Chromium.
pictures: $(INSTALLED)
	$(BIN)/python benchmarks/pictures.py

# Known vulnerabilities of constraints.txt; ends with 3 where not every version could be looked up.
audit: $(AUDIT)
	$(BIN)/python dependencies/audit.py $(SERVICE)

# requirements.lock, the versions of constraints.txt with hashes.
lock: $(AUDIT)
	$(BIN)/python dependencies/lock.py

# docs/licences.md, of what is installed.
licences: $(AUDIT)
	$(BIN)/python dependencies/licences.py

gpu:
	PYTHON=$(PYTHON) WHEELS=$(WHEELS) sh benchmarks/gpu.sh

clean:
	rm -rf $(VENV)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), but Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(AUDIT): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit]'
	@touch $@
