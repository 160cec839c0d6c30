# make demo: install into .venv and run the demonstration.   make test: install into .venv and run the tests.
# make lint: ruff, ruff format and mypy.   make wheel: build a wheel, install it apart, and run it.
# make quick: those that are not slow, in less than 90 s once the code is compiled.
# make docs: the documentation as a site, in build/docs; its tutorials are executed.   make paper: the paper's figures.
# make amuse: Fi and Gadget-2 in .amuse, see docs/engines.md.
PYTHON ?= python3
BIN := .venv/bin
TESTS := $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: demo test quick lint wheel docs paper amuse clean

demo: .venv/core
	$(BIN)/emeraldcut demo --output demo --overwrite

test: .venv/test
	$(TESTS)

quick: .venv/test
	$(TESTS) -m "not slow"

lint: .venv/test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

wheel: .venv/test
	$(BIN)/python tools/check_wheel.py

docs: .venv/docs
	rm -rf build/docs docs/generated
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --jobs auto docs build/docs
	$(BIN)/python tools/check_site.py build/docs

paper: .venv/core
	$(BIN)/python paper/figures.py

amuse:
	PYTHON=$(PYTHON) tools/install_amuse.sh .amuse

.venv/core: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'emeraldcut needs Python 3.11 or newer')"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/test: .venv/core
	$(BIN)/python -m pip install --quiet --editable '.[train,review,test]'
	# for images of galaxies in them, none of their code; mgefit's licence allows non-commercial use only
	$(BIN)/python -m pip install --quiet --no-deps astrovista mgefit
	touch $@

.venv/docs: .venv/core
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache build dist demo
