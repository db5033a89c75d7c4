# Each target is a check or a build. CI and people call the same targets.
GO     ?= go
TOOL    = $(GO) run -modfile=tools/go.mod
FUZZTIME ?= 10s

.PHONY: help build test race lint vuln cross bench bench-compare bench-module etcd-client cover fuzz soak sim mutants innocents student course play ci

help:    ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build:   ## compile every package and the raftlab command (bin/raftlab)
	$(GO) build ./... && $(GO) build -o bin/raftlab ./cmd/raftlab

test:    ## every test, in virtual time where there is time
	$(GO) test ./...

# Without the detector are packages whose tests have one goroutine or leave the work to
# processes that have no detector, and single tests that are dear and run the goroutines
# of others. Of the labs' suites, all of which run the same servers, those tests are here
# that have the most at work at once. make soak has the whole suites.
LABS            = ./raft ./kvraft ./shardctrler ./shardkv ./y2025/...
NORACE_PACKAGES = /(raft|kvraft|shardctrler|shardkv|y2025(/.*)?|cmd/raftlab|examples/.*|kv|mutants(/.*)?|porcupine/(history|models)|raft/core(/.*)?|internal/(course|datadir|durable|grade|jail|labapi|labrun|labtrace|pki|play/site|tidy|verdict)|sim(/internal/overlay)?|trace)$$
NORACE          = ^(TestWASMVerdicts|TestNativeVerdicts|TestLimitHasStacks|TestEveryCrashRecovers|TestFlippedBits|TestSwappedPages|TestManyUnanswered|TestPageSize|TestSpinIsFound|TestBoundHistory|TestCrash|TestInterruptedConversion|TestManyNames|TestBrowser.*|Test.*Oracle)$$
RACE_LABS       = [a-z]$$|KillWithBlocked|ManyElections|ConcurrentStarts|Churn|RandomFaults|SnapshotUnderLoad|PersistPartitionUnreliable|UnreliableRecoverPartition|ConcurrentUnreliable|ExactlyOnce|Await|Close|(Concurrent|Unreliable)1_|Unreliable(2|4A)$$|StrictSerial|LocksMove|WholeGroups|Challenge|Everything|ManyClients|(Unreliable|Snapshots|Crashes)(Moves)?UnderLoad|ThreeControllers

race:    ## the tests with several goroutines under the race detector
	$(GO) test -race -vet=off -skip '$(NORACE)' $$($(GO) list ./... | grep -vE '^raftlab$(NORACE_PACKAGES)')
	$(GO) test -race -vet=off -run '$(RACE_LABS)' $(LABS)

lint:    ## gofmt, go vet, staticcheck, ineffassign, unparam, tidy module files
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) honnef.co/go/tools/cmd/staticcheck ./...
	$(TOOL) github.com/gordonklaus/ineffassign ./...
	$(TOOL) mvdan.cc/unparam ./...
	$(GO) mod tidy -diff

vuln:    ## known vulnerabilities in what the code reaches (needs vuln.go.dev)
	@scripts/vuln.sh

cross:   ## check the types of every package and test for other systems
	scripts/cross.sh

student: ## compile and vet everything with a student's Raft in the place of package raft
	scripts/student-build.sh

course:  ## make a handout, see its skeletons fail and its solution pass
	RAFTLAB_SOAK=1 $(GO) test -run TestHandoutWorksAlone -timeout 30m ./internal/course

play:    ## the playground as a page without a server, to docs/play
	$(GO) run ./cmd/raftlab play --out docs/play

bench:   ## every benchmark, once through (BENCH=regexp COUNT=n to choose)
	$(GO) test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -count $(or $(COUNT),1) ./...

bench-compare: ## benchmarks beside those of BASE (BASE=main PKG=./raft BENCH=regexp COUNT=n)
	@BASE='$(BASE)' PKG='$(PKG)' BENCH='$(BENCH)' COUNT='$(COUNT)' BENCHTIME='$(BENCHTIME)' scripts/bench-compare.sh

bench-module: ## the nested module bench: the checker beside the original
	cd bench && $(GO) vet ./... && $(GO) test -vet=off ./...

etcd-client: ## the nested module bench/etcd: the server with etcd's own client
	cd bench/etcd && $(GO) vet ./... && $(GO) test -vet=off ./...

cover:   ## statement coverage by package and in all
	$(GO) test -coverprofile=cover.out -coverpkg=./... ./... && $(GO) tool cover -func=cover.out | tail -1

fuzz:    ## each fuzz target for FUZZTIME (default 10s)
	scripts/fuzz.sh $(FUZZTIME)

soak:    ## the long version: 200 plain, 20 race and 20 busy-core runs of the suites, and every long test
	scripts/soak.sh

sim:     ## each lab test in some simulated worlds (SEEDS=A..B)
	$(GO) run ./cmd/raftlab sim ./raft ./kvraft ./shardctrler ./shardkv ./y2025/kvsrv1 ./y2025/kvsrv1/lock ./y2025/kvraft1/rsm ./y2025/kvraft1 ./y2025/shardkv1 --seeds $(or $(SEEDS),1..20)

mutants: ## plant each known bug and see the lab suites fail on it
	$(GO) run ./mutants

innocents: ## right implementations, which no suite may fail (INNOCENTS=regexp to choose)
	$(GO) run ./mutants -run '^($(or $(INNOCENTS),student-control|innocent|partial))'

ci: lint test race student innocents cross bench-module etcd-client vuln ## what CI runs
