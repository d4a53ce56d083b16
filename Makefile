# make book    build the web book, every chapter executed, into _build/html
# make test    run the lint and the tests, and execute every notebook
# make lint    check style, types and the direction of imports
# make format  format every file, and mend what can be mended by itself
# make links   follow every link of the book (needs the network)
# make evidence [CHAPTER=01_first_federation] [SCALE=full]   record what the claims come to
#              for 20 seeds (3 at full scale); what is recorded already is not run again
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

# As fedbook/scale.py checks it, but before anything is installed or removed. (With the quotes
# two words are not taken for one of them.)
FEDBOOK_SCALE ?= quick
ifeq ($(filter "quick" "full","$(FEDBOOK_SCALE)"),)
$(error FEDBOOK_SCALE is '$(FEDBOOK_SCALE)'; it must be one of quick, full)
endif
FRESH = _build/fresh-$(FEDBOOK_SCALE)

# Matplotlib, Jupyter and IPython keep files in HOME, and warn on every page when they cannot.
# What is not there they make, as far as they may write in HOME.
ifneq ($(shell for folder in .config .cache .local .ipython .jupyter; do \
	if test -e "$$HOME/$$folder"; then test -w "$$HOME/$$folder"; else test -w "$$HOME"; fi || echo no; \
	done),)
$(shell mkdir -p _build/home)
export MPLCONFIGDIR ?= $(CURDIR)/_build/home/matplotlib
export IPYTHONDIR ?= $(CURDIR)/_build/home/ipython
export JUPYTER_CONFIG_DIR ?= $(CURDIR)/_build/home/jupyter/config
export JUPYTER_DATA_DIR ?= $(CURDIR)/_build/home/jupyter/data
export JUPYTER_RUNTIME_DIR ?= $(CURDIR)/_build/home/jupyter/runtime
endif

.PHONY: always book pages test lint format links test-package evidence test-benchmarks test-colab lab serve lock repository clean

# Chapters and tests run side by side, as many as there are cores (four at most: each has
# a worker), and keep to a core each.
ONE_CORE = OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1

# $(call alone,FILE,TARGET): who comes second waits for the first, and finds its work done.
# (flock is part of util-linux. What ends make ends what make has started, so nothing forks.)
FLOCK := $(shell command -v flock 2>/dev/null)
alone = $(if $(FLOCK),flock -n $(1) true || echo "Waiting for another make in this folder."; \
	exec flock --no-fork $(1)) $(MAKE) --no-print-directory ALONE=yes $(2)

book: $(INSTALLED)
	+@$(call alone,Makefile,pages)

# A progress bar is for live notebooks; on a page it would be a row of fragments.
# (exec: or a signal ends the shell between make and the program, and not the program.)
pages: $(INSTALLED) $(FRESH)
	exec env TQDM_DISABLE=1 $(ONE_CORE) $(BIN)/python tools/execute_chapters.py _build/.jupyter_cache notebooks/*.ipynb
# Of a page that it remembers Sphinx does not repeat the warnings.
	@test -e _build/succeeded || rm -rf _build/.doctrees
	@rm -f _build/succeeded
	exec env TQDM_DISABLE=1 $(BIN)/jupyter-book build -W --keep-going .
	@touch _build/succeeded

# What a chapter printed holds for one scale, until something that it calls or reads has changed.
$(FRESH): $(INSTALLED) $(shell find fedbook benchmarks/results evidence -name '*.py' -o -name '*.json')
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

SCALE ?= quick
evidence: $(INSTALLED)
	exec env $(ONE_CORE) $(BIN)/python tools/evidence.py $(SCALE) $(CHAPTER:%=notebooks/%.ipynb)

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

# Made anew when it is missing, incomplete or older than requirements.txt, when its folder has
# been moved or copied (its programs name their interpreter by its path, and fedbook is the one
# in the old folder), or when PYTHON is given and is another Python.
VERSION := import sys; print("Python %d.%d" % sys.version_info[:2])
ifneq ($(wildcard $(INSTALLED)),)
STALE := $(shell made=$$(sed -n 's/^command = .* -m venv //p' $(VENV)/pyvenv.cfg); \
	if test -n "$$made" && ! test "$$made" -ef $(VENV); then echo "$(VENV) was made in another folder."; \
	elif ! test -x $(BIN)/python; then echo "The Python that $(VENV) was made with is gone."; fi)
ifneq ($(origin PYTHON),file)
STALE += $(shell is=$$($(BIN)/python -c '$(VERSION)'); \
	wanted=$$($(PYTHON) -c '$(VERSION)' 2>/dev/null) || wanted="$(PYTHON)"; \
	test "$$is" = "$$wanted" || echo "$(VENV) has $$is, and PYTHON is $$wanted.")
endif
endif
STALE := $(strip $(STALE))

ifeq ($(ALONE),)
$(INSTALLED): requirements.txt $(if $(STALE),always)
	+@$(call alone,requirements.txt,$@)
else
$(INSTALLED): requirements.txt $(if $(STALE),always)
	@$(PYTHON) tools/check_machine.py $(VENV)
	@$(if $(STALE),echo "$(STALE) It is made anew.")
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		--ignore-requires-python -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
endif

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
