# make demo: everything from nothing to a picture.  make test: everything that CI checks.
# make docs: the site of the documentation, in site/.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo docs test test-slow lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/kerasseg demo

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

test: $(VENV)/installed-dev lint
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/installed-dev
	$(BIN)/pytest -m slow

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The environment is made again when the requirements of the package change.
$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, as in: make demo PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
# Without its requirements: one of them is `typing`, an old copy of the standard library's module.
	$(BIN)/python -m pip install --quiet --no-deps 'cityscapesscripts>=2.2,<3'
	touch $@

clean:
	rm -rf $(VENV) build dist demo site src/*.egg-info .pytest_cache .ruff_cache
