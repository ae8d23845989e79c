# Two commands: `make demo` (the main job) and `make test` (everything that is tested).
# Both make .venv on the first call and are quick afterwards. `uv` is used where it is installed, pip otherwise.
# PYTHON chooses the interpreter of a new .venv, VENV its place.

PYTHON ?= python3
VENV ?= .venv
UV := $(shell command -v uv 2>/dev/null)
BIN := $(VENV)/bin
OUT ?= demo

export PIP_DISABLE_PIP_VERSION_CHECK = 1

# Where the lowest versions that pyproject.toml allows are tried, and on what: quick tests that reach every dependency.
LOWEST ?= .venv-lowest
QUICK = tests/packaging tests/core/test_posterior.py tests/core/test_selection.py tests/core/test_draw.py \
  tests/ensembles/neural/test_encoding.py tests/ensembles/neural/test_training.py tests/envs/test_envs_gymnasium.py \
  tests/experiments/compare/test_gymnasium_run.py tests/journal/test_packing.py tests/journal/test_export.py \
  tests/journal/test_export_limits.py tests/experiments/test_archives.py tests/experiments/test_escaping.py \
  tests/experiments/test_results_text.py tests/cli/test_cli.py

# Quick tests of every room: see test-quick.
FAST = tests/core/test_posterior.py tests/core/test_selection.py \
  tests/core/test_statement.py tests/core/test_fail_closed.py tests/ensembles/neural/test_encoding.py \
  tests/journal/test_store.py tests/journal/test_packing.py tests/imitator/test_queries.py \
  tests/imitator/test_actions_at_every_entrance.py tests/envs/test_envs_tabular.py tests/deception/test_transforms.py \
  tests/experiments/test_ledger.py tests/experiments/test_escaping.py tests/docs/test_api_reference.py \
  tests/mutation/test_faults_apply.py

.PHONY: demo test test-quick slow lowest long lint format types docs bench clean

demo: $(VENV)/.installed-demo
	$(BIN)/consensus-imitation demo --out $(OUT) --overwrite

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

# Tests that look at something more closely, and take longer, than what `make test` runs.
slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -m slow

# Old releases of other packages warn of what newer ones changed since.
lowest:
	$(MAKE) $(LOWEST)/.installed-lowest VENV=$(LOWEST)
	LOWEST=1 $(LOWEST)/bin/python -m pytest -n 2 -W ignore::DeprecationWarning $(QUICK)

long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m long

lint: $(VENV)/.installed-dev build/types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd build/types && PYTHONPATH=. $(abspath $(BIN))/lint-imports --no-cache

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.installed-dev build/types
	cd build/types && $(abspath $(BIN))/basedpyright --project . --pythonpath $(abspath $(BIN))/python

# The built package, laid out as users get it: envs/ is a part of the package only there.
.PHONY: build/types
build/types: $(VENV)/.installed-dev
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/types .
	cp pyproject.toml build/types/

# The site: notebooks run, a warning is an error, and what was built is checked. Open docs/_build/html/index.html.
docs: $(VENV)/.installed-docs
	rm -rf docs/_build
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --conf-dir docs . docs/_build/html
	$(BIN)/python docs/check_site.py docs/_build/html

# An answer for a contributor within 90 seconds: rules, laws, the learner, records, worlds, the docs of names.
test-quick: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -q $(FAST)

bench: $(VENV)/.installed-dev
	$(BIN)/consensus-imitation bench

clean:
	rm -rf $(VENV) $(LOWEST) .jax_cache build dist docs/_build docs/reference *.egg-info

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

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
ifdef UV
	VIRTUAL_ENV=$(abspath $(VENV)) uv pip install --quiet --compile-bytecode -e ".[all]" --group docs
else
	$(BIN)/python -m pip install --quiet -e ".[all]" --group docs
endif
	touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-lowest: pyproject.toml tests/packaging/lowest.py | $(BIN)/python
	$(BIN)/python tests/packaging/lowest.py > $(VENV)/lowest.txt
ifdef UV
	VIRTUAL_ENV=$(abspath $(VENV)) uv pip install --quiet --compile-bytecode -r $(VENV)/lowest.txt -e .
else
	$(BIN)/python -m pip install --quiet -r $(VENV)/lowest.txt -e .
endif
	touch $@
