# make book    build the web book, every chapter executed, into _build/html
# make test    run the lint and the tests, and execute every notebook
# make lint    check style, types and the direction of imports
# make format  format every file, and mend what can be mended by itself
# make links   follow every link of the book (needs the network)
# make test-benchmarks   the benchmarks' smoke runs
# make test-colab   run every notebook in the likeness of a Colab runtime
# make lab     open the notebooks in JupyterLab
# make serve   show the built book on http://localhost:8000
# make lock    renew uv.lock and requirements.txt (needs uv)
# make repository URL=https://github.com/OWNER/NAME   set the book's address everywhere
# make clean   remove what the others made
#
# PYTHON names the interpreter (3.11, 3.12 or 3.13): make PYTHON=python3.12 test

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed
FRESH = _build/fresh-$(or $(FEDBOOK_SCALE),quick)

.PHONY: book test lint format links test-package test-benchmarks test-colab lab serve lock repository clean

# Chapters and tests run side by side, as many as there are cores (four at most: each has
# a worker), and keep to a core each.
ONE_CORE = OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1

# A progress bar is for live notebooks; on a page it would be a row of fragments.
book: $(INSTALLED) $(FRESH)
	TQDM_DISABLE=1 $(ONE_CORE) $(BIN)/python tools/execute_chapters.py _build/.jupyter_cache notebooks/*.ipynb
	TQDM_DISABLE=1 $(BIN)/jupyter-book build -W --keep-going .

# What a chapter printed holds for one scale, until something that it calls or reads has changed.
$(FRESH): $(INSTALLED) $(shell find fedbook benchmarks/results -name '*.py' -o -name '*.json')
	rm -rf _build/.jupyter_cache _build/.doctrees _build/html _build/fresh-*
	mkdir -p _build
	touch $@

# A file goes to one process whole.
PYTEST = $(ONE_CORE) $(BIN)/python -m pytest \
	--numprocesses logical --maxprocesses 4 --dist loadscope \
	--ignore tests/colab --ignore tests/benchmarks

# With the examples in the package's docstrings.
test: lint
	$(PYTEST) --doctest-modules --nbval-lax --nbval-current-env fedbook notebooks tests

test-package: $(INSTALLED)
	$(PYTEST) --doctest-modules fedbook tests

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Of the pages as they are: no chapter is executed. Sphinx wants its settings in a file.
links: $(INSTALLED)
	mkdir -p _build/links
	$(BIN)/jupyter-book config sphinx .
	mv conf.py _build/links/
	$(BIN)/sphinx-build -q -b linkcheck -c _build/links -D nb_execution_mode=off \
		-D 'linkcheck_ignore=.*/set-by-make-repository-/.*' . _build/links

test-benchmarks: $(INSTALLED)
	$(BIN)/python -m pytest tests/benchmarks

# In the likeness of Colab's runtimes: COLAB names a list in tests/colab, for which the
# interpreter of that name must be there, or COLAB_PYTHON name it.
COLAB ?= python3.13
COLAB_PYTHON ?= $(COLAB)

test-colab: $(INSTALLED) .venv-colab-$(COLAB)/installed
	COLAB_PYTHON=$(CURDIR)/.venv-colab-$(COLAB)/bin/python COLAB_LIST=tests/colab/$(COLAB).txt \
		$(BIN)/python -m pytest tests/colab -s

.venv-colab-%/installed: tests/colab/%.txt
	rm -rf $(@D)
	$(COLAB_PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@

lab: $(INSTALLED)
	$(BIN)/jupyter lab notebooks

serve:
	@test -f _build/html/index.html || { echo "There is no book yet: run make book." >&2; exit 1; }
	$(PYTHON) -m http.server --bind localhost --directory _build/html 8000

# Made anew when it is missing, incomplete or older than requirements.txt.
$(INSTALLED): requirements.txt
	@$(PYTHON) tools/check_machine.py
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		--ignore-requires-python -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

lock:
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	uv lock --upgrade
	uv export --quiet --frozen --no-emit-project --no-header --no-annotate \
		--format requirements-txt --output-file requirements.txt

repository:
	$(PYTHON) tools/set_repository.py "$(URL)"

clean:
	rm -rf .venv .venv-* _build .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
