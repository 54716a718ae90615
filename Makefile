# Two commands: `make up` runs the companion, `make test` runs every test. Both install what they need (tools/setup).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One build folder for both commands, outside the clone.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/ajatus/target
RUST = export PATH="$$(tools/rust):$$PATH"

.PHONY: up test test-lora test-ollama bench bench-pipelines bench-nexmark bench-inference doctor setup build lint help

help: ## says what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

setup: ## installs what `make up` needs; a second run does nothing
	@tools/setup

build: setup
	@$(RUST); cargo build --locked --bin ajatus

up: build ## runs the companion on http://127.0.0.1:7420; ARGS="--listen …" for more
	@exec "$(CARGO_TARGET_DIR)/debug/ajatus" up $(ARGS)

test: ## runs every test, with real Postgres, real Kafka and the real models
	@tools/setup --tests
	@$(RUST); tools/test

test-lora: ## trains an adapter on a tiny Mistral with PyTorch and checks the committed numbers; installs 1.5 GB of Python
	@tools/lora/setup
	@OMP_NUM_THREADS=1 .cache/lora/bin/python -W ignore -m unittest discover -s tools/lora

test-ollama: build ## the Ollama backend against a real one, built from its source; needs Go
	@tools/ollama/setup
	@$(RUST); cargo test --locked -p ajatus --test ollama -- --ignored

lint: ## formatting and lints, warnings as errors
	@$(RUST); cargo clippy --workspace --all-targets --locked -- -D warnings

bench: build ## measures freshness on this machine
	@"$(CARGO_TARGET_DIR)/debug/ajatus" bench freshness

bench-pipelines: setup ## what a pipeline costs, beside bare differential, Pathway and Bytewax; ARGS="--runs 5 --only ours,bare"
	@benches/peers/setup || echo "bench-pipelines: going on without the peers"
	@$(RUST); cargo build --locked -p ajatus -p ajatus-benches --bin ajatus --bin ajatus-benches
	@"$(CARGO_TARGET_DIR)/debug/ajatus-benches" table $(ARGS)

bench-nexmark: setup ## Nexmark queries as SQL files, every answer checked; ARGS="--rows 100000 --queries q4,q5"
	@$(RUST); cargo build --locked -p ajatus -p ajatus-benches --bin ajatus --bin ajatus-benches
	@"$(CARGO_TARGET_DIR)/debug/ajatus-benches" nexmark $(ARGS)

bench-inference: setup ## texts embedded a second beside ONNX Runtime, tokens beside llama.cpp; ARGS="--runs 5 --json"
	@benches/peers/inference/setup || echo "bench-inference: going on without the peers"
	@$(RUST); cargo build --locked -p ajatus -p ajatus-benches --bin ajatus --bin ajatus-benches
	@"$(CARGO_TARGET_DIR)/debug/ajatus-benches" inference $(ARGS)
	@"$(CARGO_TARGET_DIR)/debug/ajatus-benches" generation $(ARGS)

doctor: build ## checks every part
	@"$(CARGO_TARGET_DIR)/debug/ajatus" doctor
