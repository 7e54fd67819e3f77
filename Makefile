# One-word commands. `make run FOLDER=~/Pictures` and `make test` are the two that a newcomer needs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
FOLDER ?=
ARGS   ?=
# What to install: `make setup EXTRAS=gpu,vlm` for an NVIDIA card and the larger models.
EXTRAS ?= cpu

.PHONY: setup setup-fast setup-dev run demo test test-fast test-long test-pythons coverage lint docs samples screenshots bench \
        bench-index bench-baseline bench-ocr bench-growth bench-ui bench-ui-large bench-ui-start bench-cli bench-quality bench-model bench-gemma bench-train bench-eval bench-media bench-hostile bench-workers bench-scale bench-postgresql bench-serving bench-speech clean

# The default install: no torch, no GPU, no account, no model hub.
setup: $(VENV)/.setup
$(VENV)/.setup: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Sightline into $(VENV) (a few minutes the first time) ..."
	$(PIP) install --no-compile -c constraints.txt -e ".[$(EXTRAS)]"
	@# 84 MB that nothing runs here: Gradio's renderer for Node and its video editor, tests of pandas and NumPy, and
	@# without an extra, a faster way down from the hub and what builds packages (pip fetches its own).
	cd $(VENV)/lib/python3.*/site-packages && rm -rf gradio/templates/node gradio/templates/frontend/static/ffmpeg \
		pandas/tests numpy/lib/tests numpy/f2py/tests numpy/random/tests numpy/typing/tests numpy/ma/tests numpy/_core/tests/data \
		numpy/_core/tests/test_*.py
	$(if $(filter-out cpu,$(EXTRAS)),,$(PIP) uninstall -y hf-xet setuptools)
	$(BIN)/sightline setup
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Sightline needs Python 3.11 or newer; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# What `make test-fast` needs on top of the default install: no torch, no PostgreSQL, no browser.
setup-fast: $(VENV)/.setup-fast
$(VENV)/.setup-fast: $(VENV)/.setup
	$(PIP) install -c constraints.txt -e ".[cpu,test]"
	@touch $@

# Everything the tests and benchmarks need. CPU torch first: a plain `torch` may pull gigabytes of CUDA.
setup-dev: $(VENV)/.setup-dev
$(VENV)/.setup-dev: $(VENV)/.setup
	$(PIP) install torch==2.13.0
	$(PIP) install -c constraints.txt -e ".[dev]"
	# For the trials of tests/model/door alone (sentence-transformers, open_clip), kept out of all else's way.
	$(PIP) install --no-deps --upgrade --target $(VENV)/torchvision torchvision==0.28.0 open_clip_torch==3.3.0 ftfy==6.3.1 wcwidth==0.2.14
	sh tests/browser/install.sh
	sh tests/install_postgresql.sh
	sh tests/install_referees.sh
	@touch $@

run: setup
	@test -n "$(FOLDER)" || { echo 'Which folder? make run FOLDER=~/Pictures   (no folder at hand: make demo)'; exit 2; }
	@$(BIN)/sightline run "$(FOLDER)" $(ARGS)

demo: setup
	@$(BIN)/sightline demo $(ARGS)

# A test that fails is tried once more, as a busy machine starves programs and browsers; its name stands in red at the end.
test: setup-dev lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --reruns 1 -m "not long" --ignore tests/browser  # a third of a test is waiting
	$(BIN)/python -m pytest -n 2 --dist loadfile --reruns 1 -m "not long" tests/browser  # by themselves: browsers starve

# Unit and property tests, about a minute (tests/README.md says which). After `make setup-dev` too.
test-fast: setup-fast
	$(BIN)/python -m pytest -n 2 --fast --durations 5

# The whole road (setup, index, search, serve) on each Python that is here: make test-pythons PYTHONS="3.12 3.13"
test-pythons:
	$(PYTHON) tests/pythons.py $(PYTHONS)

# Lines and branches that the tests run, as a table and in htmlcov/. TESTS=tests/data for a part of them.
coverage: setup-dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile -m "not long" --ignore tests/browser $(or $(TESTS),tests)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report && $(BIN)/coverage html -q

test-long: setup-dev
	sh tests/browser/install.sh firefox
	$(BIN)/python -m pytest -m long

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	sh tests/browser/lint.sh

docs: setup-dev
	$(BIN)/python -m pytest tests/test_docs.py

samples: setup-dev
	$(BIN)/python -m tests.quality.samples samples

# A picture of every screen in docs/images, of the sample set.
screenshots: samples
	$(BIN)/python -m tests.browser.screenshots

bench: bench-index bench-ui bench-quality bench-model bench-train bench-eval
bench-index bench-baseline bench-ocr bench-growth bench-ui bench-ui-large bench-ui-start bench-cli bench-quality bench-model bench-gemma bench-train bench-eval bench-media bench-hostile bench-workers bench-scale bench-postgresql bench-serving bench-speech: setup-dev
	$(BIN)/python -m tests.bench.$(subst -,_,$(@:bench-%=%))
bench-model: bench-gemma

clean:
	rm -rf $(VENV) build dist *.egg-info
