# Everything a fresh machine needs is installed here: python3, make and a network are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
OUT ?= bench-report

.PHONY: bench bench-full bench-papers bench-peers bench-control bench-bits bench-speed bench-simulators check-device test test-all test-modes test-page test-environments lint types wheel examples docs clean

$(VENV)/.stamp-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	touch $@

bench: $(VENV)/.stamp-bench
	$(BIN)/python -m benchmarks --out $(OUT)

bench-full: $(VENV)/.stamp-bench
	$(BIN)/python -m benchmarks --full --out $(OUT)

bench-papers: $(VENV)/.stamp-bench,rl
	$(BIN)/python -m benchmarks papers --full --out $(OUT)

# Other systems, each in an environment of its own that the command makes.
bench-peers: $(VENV)/.stamp-bench
	$(BIN)/python -m benchmarks peers --out $(OUT)

bench-control: $(VENV)/.stamp-bench,rl
	$(BIN)/python -m benchmarks control --out $(OUT)

bench-bits: $(VENV)/.stamp-bench,vae
	$(BIN)/python -m benchmarks bits --full --out $(OUT)

bench-speed: $(VENV)/.stamp-bench
	$(BIN)/python -m benchmarks speed --full --out $(OUT)

# On the device that JAX finds: install the jax for it into $(VENV) first.
check-device: $(VENV)/.stamp-test
	$(BIN)/python -m benchmarks.device --out device.json

bench-simulators: $(VENV)/.stamp-bench
	$(BIN)/python -m benchmarks simulators --out $(OUT)

test: $(VENV)/.stamp-test,adapters,bench,rl,training,mcmc,cluster
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-all: $(VENV)/.stamp-test,adapters,bench,rl,training,mcmc,cluster test-modes
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# The default tests in the modes of JAX that the others are not run in (these raise for ranks, dtypes and keys that are used twice).
test-modes: $(VENV)/.stamp-test,adapters,bench,rl,training,mcmc,cluster
	for mode in JAX_ENABLE_X64 JAX_DEBUG_NANS JAX_CHECK_TRACER_LEAKS; do \
	  env $$mode=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow" || exit 1; \
	done

# The report in a browser; chromium has to be there, as Debian's package of that name.
test-page: $(VENV)/.stamp-test,bench,page
	command -v chromium || command -v chromium-browser
	test -d .page-tools/node_modules/axe-core || npm install --silent --no-audit --no-fund --prefix .page-tools axe-core@4
	TEST_PAGE=1 $(BIN)/python -m pytest tests/benchmarks/test_page.py

# Environments of jumanji and brax, which bring much else, in a virtual environment of their own.
test-environments:
	test -x .venv-environments/bin/python || $(PYTHON) -m venv .venv-environments
	.venv-environments/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,environments]'
	.venv-environments/bin/python -c 'import brax.envs, jumanji'
	.venv-environments/bin/python -m pytest tests/policy_gradient/test_more_environments.py

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.stamp-dev $(VENV)/.stamp-test,adapters,bench,rl,training,mcmc,cluster
	$(BIN)/pyright
	$(BIN)/python tests/typed/check.py

# The source distribution, the wheel that is made of it, and the README's programs in an environment that has the wheel alone.
wheel: $(VENV)/.stamp-dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv dist/alone
	dist/alone/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd dist && JAX_PLATFORMS=cpu alone/bin/python ../tests/readme.py

# Each example as its head says, in an environment of its own.
examples: wheel
	JAX_PLATFORMS=cpu $(BIN)/python docs/run_examples.py dist/*.whl

# Pages are computed side by side.
docs: $(VENV)/.stamp-docs,rl
	$(BIN)/sphinx-build -W --keep-going -j $(WORKERS) -b html docs docs/_build/html
	$(BIN)/python docs/coverage.py
	! $(BIN)/python docs/coverage.py --twin

clean:
	rm -rf $(VENV) .venv-peers .page-tools build dist docs/_build bench-report .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
