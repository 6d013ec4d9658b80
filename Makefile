# Thin calls of the tools that do the work. `make help` lists them.

PYTHON ?= python3
# cuda: libtorch with CUDA (5 GB); cpu: without (1.5 GB). auto looks for an NVIDIA driver.
TORCH ?= auto
ifeq ($(TORCH),auto)
override TORCH := $(if $(wildcard /dev/nvidiactl),cuda,cpu)
endif

VENV := .venv
REQUIREMENTS := tests/requirements
READERS := $(VENV)/.readers
BENCH_VENV := .venv-bench
# A libtorch of the user's own is respected, and none is installed then.
ifeq ($(LIBTORCH)$(LIBTORCH_USE_PYTORCH),)
LIBTORCH_STAMP := $(VENV)/.torch-$(TORCH)
endif

BIN := target/release/fsa-bank
DATASET ?= demo
PIPELINE := pipelines/$(DATASET).toml
RUN := runs/$(DATASET)
DATA_FLAG := $(if $(DATA),--data $(DATA))
BANK_ONLY := --no-default-features
LIGHT := --no-default-features --features onnx

.PHONY: help setup build docs demo fetch train plan features finetune compare test test-networks lint package bench bench-io bench-bank bench-decode bench-features bench-train bench-large fuzz clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(READERS) $(LIBTORCH_STAMP) ## install libtorch and the readers of the tests into .venv

build: setup ## build fsa-bank and its libtorch engine
	cargo build --release --locked

docs: ## write the tables of the settings into the documents
	FSA_BANK_WRITE_DOCS=1 cargo test --locked $(BANK_ONLY) --test suite the_documents_have

demo: build ## the main job on a small set of real images: train, features, finetune
	$(BIN) train --resume pipelines/demo.toml
	$(BIN) features pipelines/demo.toml
	$(BIN) finetune runs/demo/shards --config pipelines/demo.toml

fetch: build ## get the images of DATASET=NAME [TO=folder]: cifar10, cifar100, inat2017 or inat2018, or a pipeline of them
	$(BIN) dataset fetch $(DATASET) $(if $(TO),--to $(TO))

train: build ## Phase-I of DATASET=NAME [DATA=path]
	$(BIN) train --resume $(PIPELINE) $(DATA_FLAG)

plan: build ## how large the bank of DATASET=NAME [DATA=path] will be, how long it takes, whether it fits on the disk
	$(BIN) plan $(PIPELINE) $(DATA_FLAG)

features: build ## write the bank of DATASET=NAME [DATA=path]
	$(BIN) features $(PIPELINE) $(DATA_FLAG)

finetune: build ## Phase-II of DATASET=NAME
	$(BIN) finetune $(RUN)/shards --config $(PIPELINE)

compare: build ## all methods on the bank of DATASET=NAME
	$(BIN) compare $(RUN)/shards --config $(PIPELINE)

# Several programs train at once there: threads of libtorch that wait for each other would take the
# processors from those that work.
test: export OMP_WAIT_POLICY = passive
test: setup ## all tests, with libtorch and without
	cargo test --release --locked
	cargo test --release --locked $(BANK_ONLY)

test-networks: build $(BENCH_VENV)/.networks ## ONNX exports of torchvision's and timm's networks (installs PyTorch whole, 5 GB)
	$(BENCH_VENV)/bin/python tests/readers/check_networks.py $(BIN)

bench: $(BENCH_VENV)/.ready ## Phase-II against PyTorch on the same banks (installs PyTorch whole, 5 GB)
	$(BENCH_VENV)/bin/python tests/benches/phase2_compare.py

bench-io: $(READERS) ## writing and reading a bank against pyarrow, a bank of 1 GB
	$(VENV)/bin/python tests/benches/bank_io_compare.py

bench-features: build $(BENCH_VENV)/.networks ## features with ResNet-50 against PyTorch on PHOTOS=folder, one folder a class
	$(BENCH_VENV)/bin/python tests/benches/features_compare.py $(BIN) $(PHOTOS)

bench-train: build $(BENCH_VENV)/.networks ## Phase-I on the CPU against PyTorch: speed, and the loss of every epoch
	$(BENCH_VENV)/bin/python tests/benches/train_compare.py $(BIN)

bench-decode: $(BENCH_VENV)/.networks ## photographs to network inputs against a DataLoader on PHOTOS=folder, one folder a class
	$(BENCH_VENV)/bin/python tests/benches/decode_compare.py $(PHOTOS)

bench-bank: build ## a bank of 100,000 rows from CIFAR10=archive: what plan expects, what it takes, a kill half way (12 GB)
	$(PYTHON) tests/benches/full_bank.py $(abspath $(BIN)) $(CIFAR10)

bench-large: ## Phase-II on banks far larger than its memory (needs 25 GB of disk and half an hour)
	$(PYTHON) tests/benches/large_bank.py

fuzz: ## look for files that do harm, SECONDS=60 [TARGET=name]: manifest, shard, classifier, pipeline, cifar or json
	tests/fuzz/run $(or $(SECONDS),60) $(TARGET)

lint: $(LIBTORCH_STAMP) ## formatting, clippy (with the oldest Rust that is supported in mind) and the documentation
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --release --locked --no-deps --document-private-items

# What a user of the registry builds: the files of the package alone, without libtorch.
package: ## the package as `cargo package` makes it, installed from its own files into target/installed
	cargo package --locked --no-verify --allow-dirty
	tar -xzf target/package/fsa-bank-*.crate -C target/package
	cargo install --locked $(LIGHT) --path target/package/fsa-bank-*/ --target-dir target --root target/installed
	target/installed/bin/fsa-bank --version

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(READERS): $(REQUIREMENTS)/readers.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --no-deps -r $<
	touch $@

$(VENV)/.torch-cpu: $(REQUIREMENTS)/torch-cpu.txt | $(VENV)/bin/python
	rm -f $(VENV)/.torch-cuda
	$(VENV)/bin/python -m pip install --quiet --no-deps -r $<
	tests/requirements/link-libtorch $(VENV)
	rm -f $(VENV)/torch/lib/libtorch_cuda*.so
	touch $@

$(VENV)/.torch-cuda: $(REQUIREMENTS)/torch-cuda.txt | $(VENV)/bin/python
	rm -f $(VENV)/.torch-cpu
	$(VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall -r $<
	tests/requirements/link-libtorch $(VENV)
	touch $@

$(BENCH_VENV)/.ready: $(REQUIREMENTS)/torch-cuda.txt $(REQUIREMENTS)/readers.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --no-deps $(patsubst %,-r %,$^)
	touch $@

$(BENCH_VENV)/.networks: $(REQUIREMENTS)/networks.txt $(BENCH_VENV)/.ready
	$(BENCH_VENV)/bin/python -m pip install --quiet --no-deps -r $<
	touch $@

clean: ## remove what was built and installed here, but no runs
	cargo clean
	rm -rf $(VENV) $(BENCH_VENV)
