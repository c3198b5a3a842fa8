# make demo | test | lint | docs | bench | bench-gpu | clean. The first run makes .venv; later ones start at once.
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
# Tests run one to a core; a process holds up to 2 GB.
WORKERS ?= --numprocesses auto --maxprocesses 4 --dist worksteal
# The extra that tests run with; any other that holds it will do.
TEST_EXTRA ?= test
INSTALL_INPUTS = setup.cfg setup.py pyproject.toml constraints.txt \
	attention_ops/build.py attention_ops/cuda_build.py \
	$(shell find attention_ops/csrc -type f)

.PHONY: demo test lint docs bench bench-gpu clean

demo: $(VENV)/.installed-demo
	$(PY) -m eval.demo --out out

# Twice where the backend matters: with the compiled ops, and as on a machine without a compiler.
test: $(VENV)/.installed-$(TEST_EXTRA)
	$(PY) -m pytest $(WORKERS)
	QUADVIEW_BACKEND=portable $(PY) -m pytest $(WORKERS) -m "not slow" tests/attention_ops tests/matching

lint: $(VENV)/.installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# The user guide and the reference of all public names in site/; a warning is an error. Fetches nothing.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

bench: $(VENV)/.installed-demo
	$(PY) -m attention_ops bench
	$(PY) -m attention_ops bench-rows
	$(PY) -m stereo bench

# Ten minutes on a CUDA device; stopped or out of time, it goes on where it was.
bench-gpu: $(VENV)/.installed-demo
	$(PY) -m eval.bench_gpu

clean:
	rm -rf out build site *.egg-info

# The stamp of an extra is renewed when anything that decides the install has changed. pip would compile
# the modules on one core and with all their tests; it is no fault if one is not for this Python.
$(VENV)/.installed-%: $(INSTALL_INPUTS)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[$*]'
	$(PY) -m compileall -qq -j 0 -x '/tests/' $(VENV)/lib || true
	touch $@
