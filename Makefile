# coordd. `make run` answers on 2181, `make test` runs the tests; both need Go alone.
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BUILT := $(shell date -u +'%m/%d/%Y %H:%M UTC')
# Each fuzz target whose name matches FUZZ runs for FUZZTIME.
FUZZTIME ?= 30s
FUZZ ?= .
FUZZPKGS := ./protocol ./config ./fsm ./server/peer
# Of the tests that need more than Go, or time.
TAGS := clients,operations,suites,conformance,applications,deploy,chaos,overload,simulate,differential,bench
# What ci fuzzes.
CIFUZZ := ^(FuzzFrame|FuzzRequestByOpcode|FuzzZooCfg|FuzzSnapshot)$$

.DEFAULT_GOAL := help
.PHONY: help build run test race lint fuzz generate clients operations suites conformance applications deploy image chaos chaos-brief soak overload simulate differential bench profile bench-compare cluster cluster-stop ci

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{ printf "  %-14s %s\n", $$1, $$2 }'

build: ## bin/coordd, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-X main.version=$(VERSION) -X 'main.built=$(BUILT)'" -o bin/coordd ./cmd/coordd

run: build ## one server on port 2181, data in ./coordd-data; ctrl-C ends it
	exec bin/coordd start

test: ## all tests that need Go alone
	$(GO) test ./...

race: ## the same under the race detector
	$(GO) test -race ./...

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on the files above'; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags $(TAGS) ./test/... ./server/... ./fsm
	$(GO) tool staticcheck ./...
	$(GO) tool staticcheck -tags $(TAGS) ./test/... ./server/... ./fsm

fuzz: ## each fuzz target for FUZZTIME (30s); FUZZ=regexp chooses
	@set -e; for pkg in $(FUZZPKGS); do \
		list=$$($(GO) test -list '^Fuzz' $$pkg); \
		for target in $$(echo "$$list" | grep '^Fuzz' | grep -E '$(FUZZ)'); do \
			echo "== $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 500x $$pkg; \
		done; \
	done

generate: ## docs/configuration.md and docs/metrics.md from their tables
	$(GO) test -count=1 -run '^(TestConfigurationPage|TestEveryKeyIsExplained)$$' ./config -args -update
	$(GO) test -count=1 -run '^TestMetricsPage$$' ./server/metrics -args -update

clients: build ## zkCli, the Java clients of 3.4 to 3.9, the C and Node clients and kazoo against bin/coordd (Java, Maven, Python, npm, gcc, libzookeeper-mt-dev)
	test/clients/install.sh >/dev/null
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -timeout 20m -tags clients ./test/clients

operations: build ## every four-letter word and AdminServer command beside a real ZooKeeper (Java, Maven)
	test/clients/install.sh >/dev/null
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -timeout 10m -tags operations ./test/operations

# conformance runs these as well: they need more tools than the others.
SKIP ?= ^Test(C|Rust)Client$$
suites: build ## kazoo's and go-zookeeper's own suites against one and three servers (Java, Maven, Python)
	test/clients/install.sh suites >/dev/null
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -timeout 40m -tags suites -skip '$(SKIP)' ./test/suites -v -args $(ARGS)

conformance: build ## the suites that clients and libraries are released with, into docs/compatibility.md (Java, Maven, Python, cargo, Debian's packages; 40 minutes)
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -v -timeout 90m -parallel 4 -tags conformance ./test/conformance -args -page $(CURDIR)/docs/compatibility.md
	$(MAKE) suites SKIP='^$$$$' ARGS="-page $(CURDIR)/docs/compatibility.md"

applications: build ## HDFS, HBase, Kafka, BookKeeper and Patroni on three servers whose leader is killed, with times (Java, Maven, root for Debian's packages); ARGS=-real: on a ZooKeeper
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -v -timeout 40m -tags applications ./test/applications -args $(ARGS)

deploy: build ## image, compose file, systemd unit and zkCli.sh, for real (root, Docker, systemd, Java)
	test/clients/install.sh >/dev/null
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -timeout 5m -tags deploy ./test/deploy

image: build ## container image coordd:latest (Docker, no registry)
	deploy/docker/build.sh bin/coordd coordd:latest coordd:$(VERSION)

chaos: export TMPDIR ?= /var/tmp
chaos: build ## faults of every kind done to coordd and to ZooKeeper under one load, with a table into docs/reliability.md (root, Java, Maven; 90 minutes); FAULTS=regexp ROUNDS=30
	test/clients/install.sh >/dev/null
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -v -timeout 3h -tags chaos -skip '^TestSoak$$' ./test/chaos \
		-args -faults '$(or $(FAULTS),.)' -rounds $(or $(ROUNDS),30) -page $(CURDIR)/docs/reliability.md $(ARGS)

chaos-brief: build ## the same without ZooKeeper, a few faults and rounds (root)
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -timeout 20m -tags chaos -skip '^TestSoak$$' ./test/chaos

soak: build ## an hour of load and random faults; servers must not grow (root); FOR=1h
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -v -timeout 24h -tags chaos -run '^TestSoak$$' ./test/chaos -args -for $(or $(FOR),1h) $(ARGS)

overload: build ## loads, crowds and strangers that ask too much (12 minutes); SCALE=0.1 is a tenth of it
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -v -timeout 40m -tags overload ./test/overload -args -scale $(or $(SCALE),1)

simulate: ## servers above Raft by seeds, and whole ensembles in virtual time (Go alone; 30 minutes); ARGS="-machine.seed 7"
	$(GO) test -count=1 -v -timeout 3h -tags simulate ./test/simulate -args $(or $(ARGS),-machine.for 6m -cluster.for 20m)

differential: build ## random programs against bin/coordd and a real ZooKeeper, compared (Java, Maven); ARGS="-seeds 5000", "-for 2h" or "-profile Roaming"
	test/clients/install.sh >/dev/null
	COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -v -timeout 24h -tags differential ./test/differential -args $(ARGS)

# TMPDIR has to be on a disk: both sides sync their logs. The JVM's flags are SERVER_JVMFLAGS.
bench: export TMPDIR ?= /var/tmp
bench: build ## coordd beside a real ZooKeeper, in turn, into docs/performance.md (Java, Maven; 90 minutes); ROW=regexp ROUNDS=5 DURATION=5s
	test/clients/install.sh >/dev/null
	cd test/bench && COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -timeout 3h -tags bench -skip '^TestProfile$$' \
		-args -row '$(ROW)' -rounds $(or $(ROUNDS),5) -duration $(or $(DURATION),5s) -page $(CURDIR)/docs/performance.md $(ARGS)

profile: export TMPDIR ?= /var/tmp
profile: build ## CPU and allocation profiles of coordd under a row of make bench, into ./profiles; ROW='set 100 B' DURATION=20s
	mkdir -p profiles
	cd test/bench && COORDD_BIN=$(CURDIR)/bin/coordd $(GO) test -count=1 -timeout 1h -tags bench -run '^TestProfile$$' \
		-args -row '$(ROW)' -duration $(or $(DURATION),20s) -profiles $(CURDIR)/profiles
	for kind in cpu allocs; do $(GO) tool pprof -top -nodecount 25 bin/coordd profiles/$$kind.1.pprof; done

bench-compare: ## Go benchmarks of REV and of the tree, through benchstat; BENCH=regexp PKGS=./fsm COUNT=6
	test/bench/compare.sh '$(REV)' '$(or $(BENCH),.)' '$(or $(COUNT),6)' $(PKGS)

cluster: build ## three servers on 127.0.0.1, .2 and .3, files in ./cluster
	deploy/cluster/cluster.sh start

cluster-stop: ## stops them; their data stays
	deploy/cluster/cluster.sh stop

ci: test race lint clients operations suites deploy chaos-brief differential ## everything CI runs, with two minutes of fuzzing
	$(MAKE) fuzz FUZZTIME=30s FUZZ='$(subst $$,$$$$,$(CIFUZZ))'
