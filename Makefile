# Each target is a check or a build that CI and people run alike.
GO     ?= go
TOOL    = $(GO) run -modfile=tools/go.mod
FUZZTIME ?= 10s

.PHONY: help build test race lint bench cover fuzz soak sim mutants wasm i386 ci

help:    ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "%-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build:   ## compile every package and the raftlab command (bin/raftlab)
	$(GO) build ./... && $(GO) build -o bin/raftlab ./cmd/raftlab

test:    ## every test, in virtual time where there is time
	$(GO) test ./...

race:    ## every test under the race detector
	$(GO) test -race ./...

lint:    ## gofmt, go vet, staticcheck, tidy module files
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) honnef.co/go/tools/cmd/staticcheck ./...
	$(GO) mod tidy -diff

wasm:    ## compile every test binary for GOOS=wasip1 GOARCH=wasm
	scripts/wasm-tests.sh

i386:    ## compile every test binary for GOARCH=386, and run the codec's there
	scripts/386-tests.sh

bench:   ## every benchmark, once through (BENCH=regexp COUNT=n to choose)
	$(GO) test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -count $(or $(COUNT),1) ./...

cover:   ## statement coverage by package and in all
	$(GO) test -coverprofile=cover.out -coverpkg=./... ./... && $(GO) tool cover -func=cover.out | tail -1

fuzz:    ## each fuzz target for FUZZTIME (default 10s)
	scripts/fuzz.sh $(FUZZTIME)

soak:    ## the long version: 200 plain, 20 race and 20 busy-core runs of the suites, and every long test
	scripts/soak.sh

sim:     ## each lab test in some simulated worlds (SEEDS=A..B)
	$(GO) run ./cmd/raftlab sim ./raft ./kvraft ./shardctrler ./shardkv --seeds $(or $(SEEDS),1..20)

mutants: ## plant each known bug and see the lab suites fail on it
	$(GO) run ./mutants

ci: lint test race wasm i386 ## what CI runs
