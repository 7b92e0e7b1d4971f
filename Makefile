# Two commands for a newcomer: `make demo` and `make test`. Both set up what they need and may be run again at any time.

PYTHON ?= python3
CORES ?= all
ISLANDS = workflow data generate train evaluate serve develop
BIN = .venv/bin
# Tools call each other by name: snakefmt needs shfmt, Snakemake's jobs need this python.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo rehearse traces test test-data test-quick test-runs test-benchmarks test-cluster test-vllm images setup slurm lint schema docs bench

demo: setup
	$(BIN)/snakemake --cores $(CORES)
	@$(BIN)/python -m selfcodealign summary

# The paper's rules, mode and twelve tables on the toy model, in a folder of their own; TABLES="evoeval canitedit" makes a few.
rehearse: setup
	$(BIN)/snakemake $(or $(TABLES:%=results/build_table/%.json),tables) --cores $(CORES) --directory work/rehearsal --configfile config/paper-rehearsal.yaml
	@echo "tables: work/rehearsal/results/build_table/"

# What moved since the demo was recorded, by figure and by column: after an upgrade of a library, say. RECORD=1 records it anew.
traces: setup
	$(BIN)/snakemake --cores $(CORES) --quiet --directory work/traces --configfile config.yaml
	$(BIN)/python -m tests.outputs work/traces/results $(if $(RECORD),--record)

# Files stay whole, so that the fixtures of a file are made once. Tests wait a third of the time, so that three processes fit on
# two cores.
PYTEST = $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

# Apart: whole runs, trainings and models, real benchmark files, vLLM, a SLURM cluster, and the checks of `make lint`.
test: setup
	$(PYTEST) tests $(addprefix --ignore tests/,e2e training models benchmarks vllm cluster)

# Whole runs of the workflow, killed and resumed, trainings, and models in the process of the tests: a quarter of an hour.
test-runs: setup
	$(PYTEST) --numprocesses 2 tests/e2e tests/training tests/models

# Whole benchmark files, where there is a network; without them tests take the pieces in tests/data, or say what they left out.
test-data: setup
	$(BIN)/python -m tests.published

# While one writes: what needs neither a run nor the sandbox, in about a minute.
test-quick: setup
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/python -m pytest tests/unit tests/test_contract.py -m "not slow" --quiet \
		--numprocesses 2 --dist loadfile

# Images of all islands as SIF files; DIRECTORIES=1 makes directories, where apptainer cannot build (root on Debian).
IMAGES = $(or $(SELFCODEALIGN_IMAGES),$(if $(filter 0,$(shell id -u)),/var/cache,$(HOME)/.cache)/selfcodealign/images)

images: setup
	PIP="$(BIN)/python -m pip" bash containers/build.sh $(IMAGES)

test-cluster: slurm
	$(BIN)/python -m pytest tests/cluster

# The authors' own files and solutions: minutes. EXTENT=full takes all problems, and BigCodeBench, whose pins are built for
# a quarter of an hour. PINNED runs the benchmarks that pin old packages: 3.10, as their authors used, where there is one.
EXTENT ?= 1
PINNED ?= $(or $(firstword $(foreach python,python3.10 $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python), \
	$(shell $(python) -c "print('$(python)')" 2>/dev/null))),$(PYTHON))

test-benchmarks: setup .venv-classeval/.ready .venv-ds1000/.ready $(if $(filter full,$(EXTENT)),.venv-bigcodebench/.ready)
	SELFCODEALIGN_BENCHMARK_TESTS=$(EXTENT) $(BIN)/python -m pytest tests/benchmarks

# The torch and tensorflow problems of DS-1000 are not among the tests: they would double the time of this step.
.venv-%/.ready: envs/evaluate-%.txt
	test -x .venv-$*/bin/python || $(PINNED) -m venv .venv-$*
	sed '/^# For the problems of torch and tensorflow/,$$d' $< > .venv-$*/wanted.txt
	.venv-$*/bin/pip install --quiet --disable-pip-version-check -r .venv-$*/wanted.txt
	-.venv-$*/bin/python envs/benchmark_data.py
	touch $@

setup: .venv/.ready .venv-typecheck/.ready
	@sh envs/system.sh

# torch comes first and alone, so that nothing else chooses another build of it.
.venv/.ready: $(ISLANDS:%=envs/%.txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; name it with PYTHON=… after make"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check $(ISLANDS:%=-r envs/%.txt)
	@sh envs/node.sh
	touch $@

# For a run on a cluster: `snakemake --profile profiles/slurm`.
slurm: setup .venv/.slurm

.venv/.slurm: envs/slurm.txt .venv/.ready
	$(BIN)/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# What pyright sees when it checks seeds: an environment of its own, so that no other package changes a verdict. It reads
# sources alone.
.venv-typecheck/.ready: envs/typecheck.txt
	test -x .venv-typecheck/bin/python || $(PYTHON) -m venv .venv-typecheck
	.venv-typecheck/bin/pip install --quiet --disable-pip-version-check --no-compile -r $<
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules workflow
	$(BIN)/snakemake --lint
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo --no-cache

schema: setup
	$(BIN)/python -m selfcodealign config

# The site of docs/ in build/docs, made in an environment of its own; its pages need no network.
docs: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "site: build/docs/index.html"

.venv-docs/.ready: envs/docs.txt
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# vLLM needs an older transformers than the rest, so it has an environment of its own (3.5 GB). It imports a small part of
# its packages, which are compiled when that happens.
test-vllm: setup .venv-vllm/.ready
	$(BIN)/python -m pytest tests/vllm

.venv-vllm/.ready: envs/vllm.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check --no-compile torch==2.13.0
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check --no-compile -r envs/vllm.txt
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# At most 45 minutes; ONLY="seeds sandbox" runs some. Adds lines to benchmarks/history and renders docs/measurements.md.
bench: setup
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))
