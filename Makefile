# Each target does its own set-up; see `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= $(shell nproc)
TIMES ?= 20
SEED ?= 1

.PHONY: help setup build demo test test-cpp test-sanitize fuzz bench lint format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## Debian packages, virtual environment and extension module, where missing or stale
	@tools/setup.sh

build: setup ## rebuild what changed in the extension module

demo: build ## a sampling step of full size, then text from a small model, on the virtual NPU
	@$(BIN)/npuvp sample --platform platform/paper.yaml --set core.issue=blocking \
	    --batch 16 --positions 32 --vcd traces/demo.vcd --wave-view traces/demo.gtkw \
	    --power traces/demo_power.csv --power-plot traces/demo_power.png --stats traces/demo_stats.json
	@$(BIN)/npuvp generate models/llada-mini --prompt 1234567+7654321= --platform platform/edge.yaml \
	    --gen-length 16 --block-length 16 --steps 16 --cache dual --vcd traces/generate.vcd \
	    --wave-stop 1ms --power traces/generate_power.csv --power-window 10us \
	    --power-plot traces/generate_power.png --stats traces/generate_stats.json

test: build test-sanitize ## every test
	@$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile
	@$(BIN)/python -m pytest -m slow -n $(JOBS) --dist loadfile

test-cpp: setup ## the C++ tests, without sanitizers
	@cmake -S . -B build/tests -G Ninja -DNPUVP_PYTHON=OFF -DNPUVP_TESTS=ON -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python > build/tests.log || { cat build/tests.log; exit 1; }
	@cmake --build build/tests -j $(JOBS) && build/tests/tests/tlm/npuvp_tests

test-sanitize: setup ## the C++ tests under ASan and UBSan
	@cmake -S . -B build/sanitize -G Ninja -DNPUVP_PYTHON=OFF -DNPUVP_TESTS=ON -DNPUVP_SANITIZE=address,undefined -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python > build/sanitize.log || { cat build/sanitize.log; exit 1; }
	@cmake --build build/sanitize -j $(JOBS) && LSAN_OPTIONS=suppressions=tests/tlm/lsan.supp:print_suppressions=0 build/sanitize/tests/tlm/npuvp_tests

fuzz: build test-sanitize ## random programs, words and files for long: TIMES as many as in the tests, from SEED on
	@NPUVP_FUZZ=$(TIMES) NPUVP_SEED=$(SEED) $(BIN)/python -m pytest tests/npuvp/differential tests/npuvp/test_firmware_fuzz.py tests/npuvp/test_elf_structure.py
	@NPUVP_FUZZ=$(TIMES) build/sanitize/tests/tlm/npuvp_tests --test-case="*words*decode*"

bench: build ## measure: a table, and build/bench.json
	@$(BIN)/python -m benchmarks

lint: setup ## check formats, lint and types
	@git ls-files '*.cpp' '*.h' | xargs -r $(BIN)/clang-format --dry-run --Werror
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy

format: setup ## put the sources into the format that lint demands
	@git ls-files '*.cpp' '*.h' | xargs -r $(BIN)/clang-format -i
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean: ## remove everything that the targets made
	rm -rf $(VENV) build
