# What people do here, by name. `make help` lists it.

GO ?= go
# Tools are built from the sources that ops/tools/go.mod pins, and cached.
TOOL := $(GO) tool -modfile=ops/tools/go.mod
# Modules of their own keep heavy requirements, such as etcd's server, out of
# the product's go.mod.
NESTED := $(patsubst %/go.mod,%,$(wildcard tests/*/go.mod))
# How long `make fuzz` stays with each fuzz test.
FUZZTIME ?= 30s
# When the tests of a package are given up. Those that run clusters take minutes on a
# machine with two slow cores, where they all share it: Go's own ten minutes are few.
TEST_TIMEOUT := 20m

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Download the modules and build the tools, so that the rest is quick
	$(GO) mod download
	$(GO) mod download -modfile=ops/tools/go.mod
	$(TOOL) buf --version
	$(TOOL) golangci-lint version

.PHONY: generate
generate: ## Make proto/gen from the messages in proto/flotilla
	$(TOOL) buf generate

.PHONY: fmt
fmt: ## Format Go and proto files
	$(TOOL) golangci-lint fmt
	$(TOOL) buf format --write

.PHONY: lint
lint: ## Lint Go and proto files; builds the linter at first, about two minutes
	$(TOOL) buf lint
	$(TOOL) buf format --diff --exit-code
	$(TOOL) golangci-lint run

.PHONY: test
test: ## Vet and test everything; continuous integration runs this
	$(GO) vet ./...
	@set -e; for module in $(NESTED); do \
		echo "$(GO) vet ./... and test ./... in $$module"; \
		(cd "$$module" && $(GO) vet ./... && $(GO) test -timeout $(TEST_TIMEOUT) ./...); \
	done
	$(GO) test -timeout $(TEST_TIMEOUT) ./...

.PHONY: test-race
test-race: ## Test with the race detector and the assertions that it turns on
	$(GO) test -race -timeout $(TEST_TIMEOUT) ./...

.PHONY: test-slow
test-slow: ## Test at length: more crashes, longer histories, larger data
	FLOTILLA_SLOW_TESTS=1 $(GO) test -timeout 60m -count 1 ./...

.PHONY: chaos
chaos: ## Kill, pause, cut off and replace the nodes of clusters, for half an hour
	$(GO) test -tags faults -count 1 ./shards/fault
	FLOTILLA_SLOW_TESTS=1 $(GO) test -timeout 90m -count 1 -v ./tests/linear ./tests/chaos

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME (30s)
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; \
	done

.PHONY: tidy
tidy: ## Check the rules of the repository: import law, pure packages, documents
	$(GO) test -count 1 ./tests/tidy

.PHONY: check
check: lint test ## Lint, vet and test: run this before you hand in a change

.PHONY: bench-etcd
bench-etcd: ## Measure flotilla beside etcd on this machine
	cd tests/bench && $(GO) run .
