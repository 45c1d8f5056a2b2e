# Everything a contributor or a build machine runs. Needs make, git and a Python >= 3.11 with venv;
# each target makes .venv by itself, once per change of pyproject.toml. `make check` and `make test`
# run some stages side by side (JOBS=1: one by one); tests/stages.py says which, and how long tests
# by chance are.

PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$candidate -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null; then command -v $$candidate; break; fi; done)
# "info": docker's client may be there without its engine.
ENGINE ?= $(shell for candidate in docker podman buildah; do \
	if $$candidate info >/dev/null 2>&1; then echo $$candidate; break; fi; done)
IMAGE ?= matrix-webchat-bridge
# More for a restricted machine, such as --isolation=chroot for buildah.
IMAGE_FLAGS ?=
# Only the format of docker has health checks.
IMAGE_FORMAT := $(if $(filter docker,$(ENGINE)),,--format=docker)

IMAGE_LABELS = --build-arg VERSION=$(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' bridge/__init__.py) \
	--build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null)

VENV := .venv
# Always "python -m": the scripts in .venv/bin hold the path at which they were installed.
PY := $(VENV)/bin/python
INSTALL = $(PYTHON) tests/install.py
# Installs in seconds what takes pip a minute; if it cannot be had, pip does it.
UV := .cache/uv/bin/uv

.PHONY: help demo test check check-all docs chaos bench soak fuzz mutants image image-check compose-check wheel release lock clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo     play a whole conversation on a real Synapse and a simulated call centre'
	@echo 'make test     everything that CI runs'
	@echo 'make check    the fast part of it: about a minute'
	@echo 'make check-all  that part on each Python from 3.11 to 3.14 that is at hand'
	@echo 'make docs     the pages of docs/ as a site, in .cache/site; complains of what leads nowhere'
	@echo 'make chaos    faults of all kinds under load, and count (CHAOS_SEED=1: as that time)'
	@echo 'make bench    what a message costs, into docs/performance.md (ROUNDS=1: quickly, for you)'
	@echo 'make soak     an even load for an hour (HOURS=24): memory has to stay flat'
	@echo 'make fuzz     odd inputs for some minutes each (MINUTES=10), and figures'
	@echo 'make mutants  change the pure core in small ways; the tests should notice (SAMPLE=600)'
	@echo 'make image    the container image (make image-check tries it, make compose-check the compose files)'
	@echo 'make wheel    sdist, wheel, and the list of all that it installs (SBOM), in dist/'
	@echo 'make release  the same with checksums and notes, and the image, of a clean and noted version'
	@echo 'make lock     choose the versions that the image has anew'
	@echo 'make clean    remove all that the above made'

demo: $(VENV)/.demo
	$(PY) -m bridge demo $(if $(CHECK),--check)

test: $(VENV)/.test
	$(PY) -m tests.stages test

check: $(VENV)/.test
	$(PY) -m tests.stages check

# About half an hour; writes the report of docs/reliability.md. CHAOS_MESSAGES, CHAOS_FAULTS: how long.
chaos: $(VENV)/.test
	$(PY) -m tests.chaos

VERSIONS ?= 3.11 3.12 3.13 3.14
check-all:
	@for version in $(VERSIONS); do \
		python$$version -c 'import ensurepip, venv' 2>/dev/null \
			|| { echo "== no Python $$version here"; continue; }; \
		echo "== Python $$version"; \
		$(MAKE) check PYTHON=python$$version VENV=.cache/python$$version || exit 1; \
	done

# In an environment of its own, for it wants other versions than the bridge.
docs: .cache/docs/.done
	NO_MKDOCS_2_WARNING=1 .cache/docs/bin/python -m mkdocs build --strict

.cache/docs/.done: requirements-docs.lock | $(UV)
	$(need_python)
	$(INSTALL) .cache/docs --require-hashes -r requirements-docs.lock
	@touch $@

# Beside heisenbridge too, where ngircd is installed. ONLY=columns,sessions: those parts alone;
# BEFORE=path: beside another checkout; ACCEPT=1: ratios may be worse than in the last run of git.
# Figures for git come from the image's Python: in a fresh clone, make bench PYTHON=python3.13.
# The other programs of tests/bench run by name.
bench: $(VENV)/.test
	$(PY) -m tests.bench.bench_bridge $(ROUNDS) $(if $(ONLY),--only $(ONLY)) \
		$(if $(BEFORE),--before $(BEFORE)) $(if $(ACCEPT),--accept)

soak: $(VENV)/.test
	$(PY) -m tests.bench.soak --hours $(or $(HOURS),1)

fuzz: $(VENV)/.fuzz
	$(PY) -m tests.fuzz --minutes $(or $(MINUTES),10)

mutants: $(VENV)/.test
	$(PY) -m tests.mutation --sample $(or $(SAMPLE),600) --seed $(or $(SEED),1)

image:
	$(if $(ENGINE),,$(error no working docker, podman or buildah found; set ENGINE=))
	$(ENGINE) build $(if $(PLATFORM),--platform $(PLATFORM)) $(IMAGE_FORMAT) $(IMAGE_LABELS) \
		$(IMAGE_FLAGS) -t $(IMAGE) .

# A real Synapse, and the image from its first start to a conversation; needs docker or podman.
image-check: $(VENV)/.test
	$(PY) -m tests.image.try_image --engine $(ENGINE) --image $(IMAGE)

# Both compose files from nothing to a conversation; needs docker with compose, root, and the image.
compose-check: $(VENV)/.test
	$(PY) -m tests.image.try_compose

# The list is of a fresh installation and nothing else: no pip, nothing that makes the list, not the
# place of the wheel on this machine. Of an earlier build, what was removed since would go along.
BUILD := .cache/build/bin/python
wheel:
	$(need_python)
	rm -rf build dist
	$(PYTHON) -m venv --clear .cache/build
	$(PYTHON) -m venv --clear --without-pip .cache/wheel
	$(BUILD) -m pip install --quiet --require-hashes -r requirements-build.lock
	$(BUILD) -c 'from setuptools.build_meta import build_sdist as build; build("dist")' >/dev/null
	$(BUILD) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist dist/*.tar.gz
	$(BUILD) -m pip --python .cache/wheel install --quiet --require-hashes -r requirements.lock
	$(BUILD) -m pip --python .cache/wheel install --quiet --no-deps dist/*.whl
	rm .cache/wheel/lib/python*/site-packages/matrix_webchat_bridge-*/direct_url.json
	$(BUILD) -m cyclonedx_py environment --output-reproducible \
		--output-file dist/sbom.cdx.json .cache/wheel/bin/python

# Refuses a tree with changes and a version that CHANGELOG.md does not know. Publishes nothing.
release:
	$(need_python)
	$(PYTHON) tests/release.py check
	$(MAKE) wheel
	$(PYTHON) tests/release.py finish
	$(if $(ENGINE),$(MAKE) image IMAGE=$(IMAGE):$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' bridge/__init__.py),\
		@echo 'No image: no working docker, podman or buildah.')

# The image's versions, with the hashes of all their files: for Python 3.11 and later, any machine.
# Then all wheels of Linux on both kinds of machine are fetched once, for there must be one of each.
LOCK = $(UV) pip compile --quiet --upgrade --generate-hashes --universal \
	--python-version 3.11 --no-header --no-annotate --no-emit-index-url
lock: $(UV)
	$(LOCK) -o requirements.lock pyproject.toml
	printf '%s\n' 'cyclonedx-bom>=7' 'setuptools>=77' | $(LOCK) -o requirements-build.lock -
	printf '%s\n' 'mkdocs-material>=9.8' | $(LOCK) -o requirements-docs.lock -
	for machine in x86_64 aarch64; do .cache/uv/bin/python -m pip download --quiet --no-deps \
		--require-hashes --only-binary :all: --python-version 313 -r requirements.lock \
		--platform manylinux_2_28_$$machine --platform manylinux_2_17_$$machine \
		--dest .cache/lock/$$machine || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info .cache .demo .fuzz .coverage .hypothesis .mypy_cache \
		.pytest_cache .ruff_cache .import_linter_cache
	find bridge tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last: an interrupted installation is begun again. The test extra holds all that
# the demo needs, so a .venv made for tests serves both.
$(VENV)/.test: pyproject.toml | $(UV)
	$(call install,test)
	@touch $(VENV)/.test $(VENV)/.demo

$(VENV)/.demo: pyproject.toml | $(UV)
	$(call install,demo)
	@touch $@

# Kept out of the test extra: the fuzzer is a large wheel, for Linux only.
$(VENV)/.fuzz: $(VENV)/.test
	$(call install,test$(,)fuzz)
	@touch $@

$(UV):
	$(need_python)
	@$(PYTHON) -m venv --clear .cache/uv
	-@.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check --no-input uv

need_python = $(if $(PYTHON),,$(error no Python >= 3.11 with venv found; set PYTHON=/path/to/python3))

, := ,
define install
	$(need_python)
	@echo '== installing the bridge with the extra "$(1)" into $(VENV) (half a minute)'
	@$(INSTALL) $(VENV) pip --editable '.[$(1)]'
endef
