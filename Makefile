# The commands of this project. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Nobody's cluster is touched by accident: tests and the demo use a control plane of their own. The demo alone
# can be pointed at another cluster, with FLEET_KUBECONFIG.
unexport KUBECONFIG

##@ See it work
.PHONY: demo
demo: tools ## From nothing: a control plane, the operator, three real Collectors, a rollout. KEEP=1 leaves it up.
	@echo "demo: building the operator"
	@cargo build --quiet --bins --example demo
	@cargo run --quiet --example demo

##@ Develop
.PHONY: test
test: tools ## Every test, the ones on real parts included.
	cargo test --no-fail-fast

.PHONY: lint
lint: ## Formatting and clippy; warnings are errors.
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

.PHONY: fmt
fmt: ## Formats the code.
	cargo fmt

FUZZ := frame message http_body
.PHONY: fuzz
fuzz: ## Feeds noise to what reads agents' bytes, FUZZ_SECONDS (60) for each target of FUZZ. Needs cargo-fuzz.
	@command -v cargo-fuzz >/dev/null || { echo "run 'cargo install cargo-fuzz --locked --version 0.13.2' first"; exit 1; }
	@cp Cargo.lock fuzz/Cargo.lock
	@for target in $(FUZZ); do \
	  mkdir -p fuzz/corpus/$$target; \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
	    -max_len=32768 -max_total_time=$${FUZZ_SECONDS:-60} -print_final_stats=1; \
	done

.PHONY: faults
faults: tools ## Rollouts while whatever can die does: SEEDS (50) seeds from FROM (0) on, AT_ONCE (2) at a time, AGENTS (300).
	@cargo build --quiet --bins --example faults
	@cargo run --quiet --example faults

.PHONY: bench
bench: ## What a check for drift costs in CPU time; fails above the budget. The first build takes minutes.
	cargo bench --bench drift

.PHONY: recovery
recovery: tools ## How long it takes until all is as before when replicas or the API server fail. Takes a quarter of an hour.
	@cargo build --quiet --bins --example measure-recovery
	@cargo run --quiet --example measure-recovery

.PHONY: storm
storm: tools ## 10,000 agents lose their replica and come back to another; 20 minutes. Needs 10,200 open files.
	cargo bench --bench storm

.PHONY: bench-writes
bench-writes: tools ## What the operator writes to the API server: AGENTS ("1000 10000"), RUNS (3), PROFILE (release).
	cargo bench --bench writes --profile $(or $(PROFILE),release)

##@ Generated files
.PHONY: generate
generate: crds proto chart ## Writes everything that is generated.

.PHONY: crds
crds: ## Writes crds/, and the chart's copy, from the types in src/api.
	UPDATE=1 cargo test --quiet --test crds

.PHONY: release-crds
release-crds: ## Records crds/ as those of the version in Cargo.toml; later ones are compared with them. Once for each release.
	@version=$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1); \
	folder=tests/compat/released/$$version; \
	mkdir -p "$$folder" && cp crds/*.yaml "$$folder/"; \
	echo "recorded in $$folder; put an object of each kind, with its new fields, into tests/compat/objects/$$version"

.PHONY: proto
proto: ## Writes src/opamp/proto/generated.rs from proto/.
	UPDATE=1 cargo test --quiet --test generated_proto

.PHONY: chart
chart: ## Writes the chart's copies of policies/ and rules/, and the values in its README.
	UPDATE=1 cargo test --quiet --test chart generated_

.PHONY: fixtures
fixtures: tools ## Records what a real Collector reports of src/drift/fixtures. Needs port 8888.
	cargo run --quiet --example record-drift-fixtures

##@ Real parts
.PHONY: tools
tools: ## Builds etcd, kube-apiserver, kubectl, supervisor, Collector and clients into .tools/bin, once; fetches nginx.
	@tools/build.sh

##@ Ship it
.PHONY: image
image: ## The container image, as IMAGE (opamp-operator) for PLATFORMS (this machine's); PUSH=1 pushes it.
	@tools/image/image.sh

.PHONY: ci
ci: ## Exactly what CI runs.
	.ci/run

.PHONY: help
help: ## Lists the commands.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
