# coordd. `make run` answers on 2181, `make test` runs the tests; both need Go alone.
GO ?= go

.PHONY: help build run test race lint fuzz clients ci
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

build: ## bin/coordd
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/coordd ./cmd/coordd

test: ## all tests that need Go alone
	$(GO) test ./...

race: ## the same under the race detector
	$(GO) test -race ./...

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on the files above'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

ci: test race lint ## everything CI runs
