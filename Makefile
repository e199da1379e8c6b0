# `make demo` and `make test` set everything up themselves; the other targets are shortcuts to `posttrain`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
SEED   ?= 0
JOBS   ?= 2
ARGS   ?=
# Files side by side, each from beginning to end in one process: those of a file share what is dear to make.
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

.PHONY: setup demo test test-fast test-faults soak check format docs docs-links context sft filter rl pairs pref eval report \
        report-picture bench bench-data bench-rollout bench-sft bench-rl bench-pref bench-attention bench-length bench-rewards \
        bench-learning bench-async bench-async-learning bench-ratios bench-preference-learning bench-smollm \
        bench-context bench-layers bench-servers bench-gpu
setup: $(VENV)/.installed

# The lock is complete, so nothing is resolved; it is why torchvision and friends stay out (see its header).
$(VENV)/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps pycosat==0.6.6 \
	  || echo "without a C compiler there is no pycosat, and without that no reward rewards.reasoning_gym; all else works"
	@touch $@

demo: setup
	$(BIN)/posttrain demo --seed $(SEED) $(ARGS)

test: setup
	$(PYTEST) $(ARGS)

test-fast: setup
	$(PYTEST) -m "not slow and not gpu" $(ARGS)

# Faults injected for real (kills, full disks, damaged files); ends in a table of faults and stages.
test-faults: setup
	$(PYTEST) -m faults $(ARGS)

# The demo under random SIGKILLs, against one that nobody disturbs: three quarters of an hour on two cores.
soak: setup
	$(BIN)/python tests/benchmarks/soak.py --seed $(SEED) $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site, in build/docs; a warning is an error, and so is a link that leads nowhere.
docs: setup
	$(BIN)/python -W "ignore:TRL currently supports" docs/keys.py
	$(BIN)/sphinx-build -c docs -W --keep-going -q -d build/doctrees . build/docs

# Links to the outside, too; needs a network.
docs-links: setup
	$(BIN)/sphinx-build -b linkcheck -c docs -q -d build/doctrees . build/linkcheck

context sft filter rl pairs pref eval report: setup
	@test -n "$(RECIPE)" || { echo "make $@ needs RECIPE=recipes/....yaml" >&2; exit 2; }
	$(BIN)/posttrain $@ $(RECIPE) $(ARGS)

# The README's picture; needs Chromium and a demo.
report-picture: setup
	$(BIN)/python -m tests.report.browser runs/demo/report/report.html docs/report.png --height 1765

bench: bench-data bench-rollout bench-rl

bench-data: setup
	$(BIN)/python tests/benchmarks/data.py $(ARGS)

bench-rollout: setup
	$(BIN)/python tests/benchmarks/rollout.py $(if $(MODEL),--model $(MODEL))

bench-sft: setup
	$(BIN)/python tests/benchmarks/sft.py $(ARGS)

bench-rl: setup
	$(BIN)/python tests/benchmarks/update.py $(ARGS)

bench-pref: setup
	$(BIN)/python tests/benchmarks/preference.py $(ARGS)

bench-attention: setup
	$(BIN)/python tests/benchmarks/attention.py $(ARGS)

bench-length: setup
	$(BIN)/python tests/benchmarks/length.py $(ARGS)

bench-rewards: setup
	$(BIN)/python tests/benchmarks/math_grading.py $(ARGS)
	$(BIN)/python tests/benchmarks/code_grading.py $(ARGS)

bench-learning: setup
	$(BIN)/python tests/benchmarks/learning.py $(ARGS)

bench-async: setup
	$(BIN)/python tests/benchmarks/async_rollouts.py $(ARGS)

bench-async-learning: setup
	$(BIN)/python tests/benchmarks/async_learning.py $(ARGS)

bench-ratios: setup
	$(BIN)/python tests/benchmarks/ratios.py $(ARGS)

bench-preference-learning: setup
	$(BIN)/python tests/benchmarks/preference_learning.py $(ARGS)

bench-smollm: setup
	$(BIN)/python tests/benchmarks/smollm2.py $(ARGS)

bench-context: setup
	$(BIN)/python tests/benchmarks/context.py $(ARGS)

bench-layers: setup
	$(BIN)/python tests/benchmarks/layer_ratios.py $(ARGS)

bench-servers: setup
	$(BIN)/python tests/benchmarks/servers.py $(ARGS)

# What needs a GPU, in one go.
bench-gpu: setup
	$(BIN)/python tests/benchmarks/gpu.py $(ARGS)
