# `make check` and `make test` are what the continuous integration runs. Tools are pinned here, outside go.mod, so that
# they are no part of the product.

GO          ?= go
FUZZTIME    ?= 2000x
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build release packages check fmt format vet staticcheck lint tidy noskip fuzz deps test allocations arithmetic properties bench campaign

build: ## one static binary, ./jotgate
	CGO_ENABLED=0 $(GO) build -trimpath -o jotgate .

release: ## archives, packages, image, checksums and bill of materials of this commit, into ./dist
	$(GO) run -C tools/release . $(RELEASE)

check: format vet staticcheck lint tidy noskip fuzz ## everything but the tests

fmt: ## rewrite the sources as `format` wants them
	$(GO) run $(GOFUMPT) -w .

format:
	@out=$$($(GO) run $(GOFUMPT) -l .) && { [ -z "$$out" ] || { echo "not formatted; run make fmt:"; echo "$$out"; exit 1; }; }

vet:
	$(GO) vet ./...
	$(GO) vet -C tools/release ./...
	$(GO) vet -C test/charts ./...

staticcheck:
	$(GO) run $(STATICCHECK) ./...

lint: ## errcheck, unparam, deadcode, misspell; lines of code and prose end at 120 columns
	GO=$(GO) scripts/lint

tidy:
	$(GO) mod tidy -diff
	cd tools/release && $(GO) mod tidy -diff
	cd test/charts && $(GO) mod tidy -diff

noskip: # a skipped test proves nothing
	@! grep -rnE '\bt\.Skip(f|Now)?\(' --include='*_test.go' .

fuzz: ## each fuzz target for FUZZTIME, a time or a number of inputs
	GO=$(GO) scripts/fuzz $(FUZZTIME)

deps: ## what the tests need from the system
	scripts/deps

test: deps check allocations arithmetic properties
	$(GO) test -race -timeout 30m ./...

packages: ## the tests of the release's packages and of the charts, modules of their own
	$(GO) test -C tools/release -timeout 60m ./...
	$(GO) test -C test/charts ./...

allocations: ## the gates on what the hot paths allocate, which the race detector hides
	$(GO) test -count 1 -run Allocat ./issuer ./proxy ./internal/...

arithmetic: ## prepared keys on the portable code and on 32 bits (FIPS mode has no portable code)
	$(GO) test -tags purego -run 'Prepare|Disagreement|Sums|Signature' -skip FIPS ./internal/jose
	GOARCH=386 $(GO) test -run 'Prepare|Disagreement|Sums|Signature' ./internal/jose

properties: ## a property that takes the race detector too long: jotgate diff against the gate, 100,000 requests
	$(GO) test -count 1 -run TestDiffAgreesWithTheGate ./internal/app

bench: ## side by side with nginx and HAProxy, into bench/results; BENCH="-help" tells the flags
	$(GO) run ./bench $(BENCH)

# A part of it: make campaign CAMPAIGN="STEPS='gate tokens' FUZZTIME=5m TARGETS='Scripts|Frames' CHECKS=1000 PARALLEL=1"
campaign: ## hours: tests with a random part at full length, fuzz targets for ten minutes each; docs/campaign.md
	GO=$(GO) $(CAMPAIGN) scripts/campaign
