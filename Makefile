# Everything a checkout needs. `make help` lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BUILD := .build
VENV := $(BUILD)/venv
BIN := $(abspath $(VENV))/bin
# Names of templates hold spaces, which make takes with a backslash alone.
SOURCES := $(shell find thinkube_sdk templates -type f -not -name '*.pyc' | sed 's/ /\\ /g') pyproject.toml README.md LICENSE

CLUSTER := tests/cluster/cluster.py

.PHONY: help demo test test-training test-cluster test-images postgresql wheel lint bench develop pins clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

$(VENV)/environment: requirements/development.txt
	@echo "Making the environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet $$(grep '^uv==' requirements/development.txt)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements/development.txt
	@touch $@

# What is tested and shown is the wheel that ships, never the checkout.
$(VENV)/installed: $(VENV)/environment $(SOURCES)
	@rm -rf $(BUILD)/dist
	@$(BIN)/uv build --quiet --wheel --out-dir $(BUILD)/dist
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --reinstall $(BUILD)/dist/*.whl
	@touch $@

demo: $(VENV)/installed ## Run notebooks/quickstart.ipynb from cell to running agent (KEEP=1 leaves it running)
	@$(BIN)/python notebooks/demo.py

# Where threads of agents are also tested. Debian keeps its programs off the PATH.
test: lint postgresql ## Check the code and run the tests against the installed wheel
	@$(BIN)/python -m pytest $(or $(TESTS),$(addprefix --ignore=tests/,training kubernetes images))

postgresql:
	@ls /usr/lib/postgresql/*/bin/postgres > /dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y postgresql > /dev/null; }

test-training: $(VENV)/installed ## Fine-tune for real, on Unsloth's CPU path (makes a 5 GB environment)
	@$(BIN)/python -m pytest tests/training

# Another cluster, with its registry, is used as it is; our own is taken down again.
test-cluster: $(VENV)/installed ## Deploy to a real Kubernetes (KUBECONFIG and THINKUBE_TEST_REGISTRY name another than our own)
	@if [ -n "$$KUBECONFIG" ] && [ -n "$$THINKUBE_TEST_REGISTRY" ]; then $(BIN)/python -m pytest tests/kubernetes; else \
		trap '$(PYTHON) $(CLUSTER) down' EXIT; $(PYTHON) $(CLUSTER) up && $(BIN)/python -m pytest tests/kubernetes; fi

test-images: $(VENV)/installed wheel ## Build the CPU images with buildah and run their tests inside (root, Debian)
	@which buildah debootstrap > /dev/null || { apt-get update -qq && apt-get install -qq -y buildah debootstrap; }
	@$(BIN)/python -m pytest tests/images

wheel: $(VENV)/environment ## Build the wheel into dist/, where images take it from
	@rm -rf dist
	@$(BIN)/uv build --quiet --wheel --out-dir dist

lint: $(VENV)/installed ## Style, types, and the layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports > $(BUILD)/layers.txt || { cat $(BUILD)/layers.txt; exit 1; }

bench: $(VENV)/installed ## Measure beside peers and print the ratios
	@for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

develop: ## An editable installation in .venv
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet $$(grep '^uv==' requirements/development.txt)
	@.venv/bin/uv pip install --quiet --python .venv/bin/python -r requirements/development.txt -e .

COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url
NOTEBOOK = pyproject.toml --extra notebook --extra kubernetes --extra finetune images/jupyter-ml-cpu/requirements.in

pins: $(VENV)/environment ## Rewrite the pinned requirements
	@$(COMPILE) pyproject.toml --extra agents --extra serving --extra postgres --extra stack --extra notebook --group dev \
		--output-file requirements/development.txt
	@$(COMPILE) $(NOTEBOOK) -c requirements/development.txt -o images/jupyter-ml-cpu/requirements.txt
	@$(COMPILE) $(NOTEBOOK) --extra agents -c requirements/development.txt -c images/jupyter-ml-cpu/requirements.txt \
		-o images/jupyter-agent-dev/requirements.txt
	@$(COMPILE) images/jupyter-ml-cpu/requirements.txt images/jupyter-ml-gpu/requirements.in \
		-o images/jupyter-ml-gpu/requirements.txt
	@$(COMPILE) images/jupyter-fine-tuning/requirements.in -c requirements/training.txt \
		-o images/jupyter-fine-tuning/requirements.txt
	@$(COMPILE) images/jupyter-inference/requirements.in -o images/jupyter-inference/requirements.txt

clean: ## Remove what make built (user data under THINKUBE_HOME stays)
	rm -rf $(BUILD) .mypy_cache .ruff_cache .import_linter_cache
