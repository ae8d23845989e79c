# Two commands: `make demo` (the main job) and `make test` (everything that is tested).
# Both make .venv on the first call and are quick afterwards. `uv` is used where it is installed, pip otherwise.
# PYTHON chooses the interpreter of a new .venv, VENV its place.

PYTHON ?= python3
VENV ?= .venv
UV := $(shell command -v uv 2>/dev/null)
BIN := $(VENV)/bin
OUT ?= demo

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test long lint format types bench clean

demo: $(VENV)/.installed-demo
	$(BIN)/consensus-imitation demo --out $(OUT) --overwrite

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m long

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The type checker runs on the built package, laid out as users get it (envs/ is a part of the package only there).
types: $(VENV)/.installed-dev
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/types .
	cp pyproject.toml build/types/
	cd build/types && $(abspath $(BIN))/basedpyright --project . --pythonpath $(abspath $(BIN))/python
	rm -rf build

bench: $(VENV)/.installed-dev
	$(BIN)/consensus-imitation bench

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
ifdef UV
	uv venv --quiet --seed --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
endif

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
ifdef UV
	VIRTUAL_ENV=$(abspath $(VENV)) uv pip install --quiet --compile-bytecode -e ".[all]"
else
	$(BIN)/python -m pip install --quiet -e ".[all]"
endif
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
ifdef UV
	VIRTUAL_ENV=$(abspath $(VENV)) uv pip install --quiet --compile-bytecode -e ".[all]" --group test --group lint
else
	$(BIN)/python -m pip install --quiet -e ".[all]" --group test --group lint
endif
	touch $@ $(VENV)/.installed-demo
