# Build, test and show credproxy. "make help" lists what there is.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 60s
SOAK     ?= 1000
LDFLAGS  := -s -w -X main.version=$(VERSION)
export GOFLAGS := -buildvcs=false

.PHONY: help build setup demo test check-deploy soak unit lint fuzz bench release-check clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the static binaries, bin/credproxy and bin/credproxy-rotation
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/credproxy ./cmd/credproxy
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -tags lambda.norpc -o bin/credproxy-rotation ./cmd/credproxy-rotation

setup: ## install the database servers that demo and test need (Debian, Ubuntu)
	./integration/setup.sh

demo: setup build ## real database servers, a stand-in for AWS, rotations under load
	cd integration && go run ./cmd/demo -credproxy ../bin/credproxy -rotation ../bin/credproxy-rotation

test: setup build unit ## every test, with the race detector, against real servers
	cd deploy/check && go test -count=1 ./manifest ./ecs ./compose
	cd integration && go test -race -count=1 -timeout 20m ./... # the binary is no input that Go caches by

check-deploy: ## also what takes minutes to compile: Helm charts, Kustomize component
	cd deploy/check && go vet ./... && go mod tidy -diff && go test -count=1 ./...

soak: setup ## SOAK (1000) rotations of each kind under load, which takes more than an hour
	CREDPROXY_FLEET=10000 go test -count=1 -v -timeout 2h -run '^TestFleet$$' ./secrets
	cd integration && CREDPROXY_SOAK=$(SOAK) go test -race -count=1 -v -parallel 6 -timeout 6h -run '^TestRotationsUnderLoad$$' .
	cd integration && CREDPROXY_SOAK=$(SOAK) go test -race -count=1 -v -parallel 4 -timeout 6h ./rotation
	cd integration && CREDPROXY_SOAK=$(SOAK) go test -race -count=1 -timeout 1h -run '^Test((Cancels|MySQLKills)MeetNobodyElse|RotationUnderLoad)$$' ./pool
	cd integration && CREDPROXY_SOAK=20 go test -race -count=1 -v -parallel 3 -timeout 2h ./failover # 20 failovers of each kind
	cd integration && CREDPROXY_TEST_POOL=1 go test -race -count=1 -timeout 1h -run '^TestPostgres(Drivers|Psql|Pgx|LibPQ|Startup|ProtocolVersion|Bulk|Cancel|Role|Dump|Pgbench)$$' . # with sessions used again
	cd integration && CREDPROXY_TEST_POOL=1 go test -race -count=1 -timeout 1h -run '^TestMySQL(Fidelity|Wire|Drivers|Capabilities|ChangeUser|ChangeUserKeepsCollation|Compression|DefaultDatabase|Passwords|UnknownPlugin|Cleartext|Login|NextHost|ServerErrors|OwnErrors|Shutdown|BecomesMariaDB|DemandForTLS|PasswordChanges|WrongPassword|TLS|Resumption|ClientTLS)$$' .

unit: ## the tests that need no server
	go test -race -timeout 5m ./...
	go test -run 'AllocatesNothing|HoldsNoBuffer|HoldsSmallStacks' ./proxy/relay # the race detector allocates
	cd bench && go test ./...

lint: ## formatting, vet, staticcheck, cross-compilation
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	cd integration && go vet ./...
	cd tools && go vet ./sbom ./lambdazip
	cd bench && go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	cd integration && go tool -modfile=../tools/go.mod staticcheck ./...
	cd bench && go tool -modfile=../tools/go.mod staticcheck ./...
	go mod tidy -diff
	cd integration && go mod tidy -diff
	cd bench && go mod tidy -diff
	GOOS=linux GOARCH=arm64 go build ./...
	GOOS=darwin GOARCH=arm64 go build ./...
	GOOS=windows GOARCH=amd64 go build ./...

fuzz: ## every fuzz target for FUZZTIME (60s)
	@set -e; for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

bench: build ## side by side with other proxies, an hour; BENCH=-quick for a first look
	./integration/setup.sh bench
	cd bench && go run . -docs ../docs $(BENCH)

release-check: ## build a release twice, in two places: the same bytes
	.ci/release-check

clean: ## remove what was built
	rm -rf bin dist
	go clean -testcache
