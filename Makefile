# What people and CI run. Tools are pinned and go to .tools/; only Rust, Python 3.10, Node.js 20 and, unless apt can
# install them, Chromium, PostgreSQL, Redis and promtool must be there before.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build static image demo pod roll-out newcomer certification mcp-conformance book test fuzz crash edge fleet flood lint audit bench fmt \
  tools clean-tools

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
FUZZ_CASES ?= 40000
CRASH_ROUNDS ?= 200
EDGE_GATES ?= 1,10,100
FLEET_GATES ?= 10000
NODE_MODULES := tests/interop/node_modules/.package-lock.json examples/external-login/node_modules/.package-lock.json

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: ## build the release binary
	cargo build --locked --release

demo: build ## see a stolen token refused: Tollgate, a real Envoy and a small upstream on this machine
	envoy=$$(scripts/install-envoy); ENVOY_BIN="$$envoy" $(TARGET_DIR)/release/tollgate dev --story

newcomer: ## time the path from a clone to a protected pod, with everything built and fetched anew (root, Linux)
	scripts/newcomer

certification: build ## run examples/fapi2.yaml and examples/openid-provider.yaml for a certification suite to drive
	TOLLGATE_BIN=$(TARGET_DIR)/release/tollgate scripts/certification

mcp-conformance: build tools ## run what the conformance suite of MCP has about authorization
	TOLLGATE_BIN=$(TARGET_DIR)/release/tollgate scripts/mcp-conformance

book: ## make the book of docs/ in target/book, to be read in a browser
	scripts/make-book

static: ## build the static program of a release, for this kind of machine
	scripts/build-static

image: ## build the image of a release from it, with buildah (root)
	program=$$(scripts/build-static); scripts/build-image "$$program" $(TARGET_DIR)

pod: image ## run the containers of the injected pod with crun, and steal a token from it (root, Linux)
	scripts/install-python kubernetes scripts/requirements/kubernetes.txt
	PATH="$$PWD/.tools/kubernetes/bin:$$PATH" scripts/run-pod $(TARGET_DIR)/image

roll-out: image ## replace two such pods by two others while clients call them, and count what is lost (root, Linux)
	scripts/install-python kubernetes scripts/requirements/kubernetes.txt
	PATH="$$PWD/.tools/kubernetes/bin:$$PATH" scripts/roll-out $(TARGET_DIR)/image

test: tools ## run every test; installs what it needs
	ENVOY_BIN="$$(scripts/install-envoy)" CHROMIUM_BIN="$$(scripts/install-chromium)" \
	POSTGRES_BIN="$$(scripts/install-postgres)" REDIS_BIN="$$(scripts/install-redis)" cargo test --locked

fuzz: ## try many more broken requests than `make test` does, others each time; FUZZ_CASES says how many
	TOLLGATE_FUZZ_CASES=$(FUZZ_CASES) TOLLGATE_FUZZ_SEED="$$(date +%s)" \
	  cargo test --locked --test it fuzz::a_good_request -- --nocapture

crash: ## crash process, database and power many more times than `make test` does, otherwise each time; CRASH_ROUNDS says how often
	POSTGRES_BIN="$$(scripts/install-postgres)" TOLLGATE_CRASH_ROUNDS=$(CRASH_ROUNDS) TOLLGATE_CRASH_SEED="$$(date +%s)" \
	  cargo test --locked --test it crash_matrix::killed -- --nocapture

edge: ## measure how soon gates refuse what was revoked, and what status lists cost; EDGE_GATES says at how many
	POSTGRES_BIN="$$(scripts/install-postgres)" TOLLGATE_EDGE_GATES=$(EDGE_GATES) \
	  cargo test --locked --release --test it edge:: -- --nocapture --test-threads 1

fleet: ## measure what a fleet costs its issuers, and when it hears of a revocation; FLEET_GATES says how many gates
	ulimit -n "$$(ulimit -Hn)"; POSTGRES_BIN="$$(scripts/install-postgres)" TOLLGATE_FLEET_GATES=$(FLEET_GATES) \
	  cargo test --locked --release --test it many_gates:: -- --nocapture --test-threads 1

flood: ## measure how many strangers the gate refuses a second while good requests pass, through Envoy and without it
	ENVOY_BIN="$$(scripts/install-envoy)" \
	  cargo test --locked --release --test it failure_modes::a_flood -- --nocapture --test-threads 1

lint: ## check format, lints, documentation, the book, dependencies, spelling, shell, YAML, images and workflows
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	scripts/install-cargo-tools
	PATH="$$PWD/.tools/bin:$$PATH" cargo deny --locked check --hide-inclusion-graph -D warnings bans licenses sources
	PATH="$$PWD/.tools/bin:$$PATH" cargo machete
	scripts/install-python lint scripts/requirements/lint.txt
	.tools/lint/bin/typos
	.tools/lint/bin/python -m yamllint --strict .
	.tools/lint/bin/shellcheck --external-sources $$(grep -rl '^#!.*sh$$' .ci scripts packaging)
	.tools/lint/bin/hadolint Containerfile packaging/Containerfile.release
	.tools/lint/bin/zizmor --offline --quiet .github/workflows
	actionlint=$$(scripts/install-actionlint); "$$actionlint" -shellcheck .tools/lint/bin/shellcheck
	scripts/make-book
	go=$$(scripts/install-go); test -z "$$("$$(dirname "$$go")/gofmt" -l examples)"

audit: ## ask the RustSec database about our dependencies (needs the network)
	scripts/install-cargo-tools
	PATH="$$PWD/.tools/bin:$$PATH" cargo deny check advisories

bench: ## print every speed budget beside its floor, measured in the same run
	ENVOY_BIN="$$(scripts/install-envoy)" POSTGRES_BIN="$$(scripts/install-postgres)" REDIS_BIN="$$(scripts/install-redis)" \
	  cargo bench --locked

fmt: ## format the code
	cargo fmt

tools: $(NODE_MODULES) ## install Envoy, Chromium, PostgreSQL, Redis, promtool, Go, Helm and the Node and Python clients that the tests run
	@scripts/install-envoy >/dev/null
	@scripts/install-chromium >/dev/null
	@scripts/install-postgres >/dev/null
	@scripts/install-redis >/dev/null
	@scripts/install-promtool >/dev/null
	@scripts/install-go >/dev/null
	@scripts/install-python python tests/interop/requirements.txt
	@CARGO_TARGET_DIR=.tools/openidconnect cargo build --quiet --locked --manifest-path tests/interop/openidconnect/Cargo.toml
	@scripts/install-python openapi scripts/requirements/openapi.txt
	@scripts/install-python kubernetes scripts/requirements/kubernetes.txt
	@scripts/install-python http3 scripts/requirements/http3.txt
	@scripts/install-helm

$(NODE_MODULES): %/node_modules/.package-lock.json: %/package-lock.json
	@command -v npm >/dev/null || { echo "make: npm is missing: install Node.js 20.19 or newer" >&2; exit 1; }
	cd $* && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

clean-tools: ## remove what `make tools` and `make lint` installed
	rm -rf .tools tests/interop/node_modules examples/external-login/node_modules
