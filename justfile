# The menu: `just` lists it.

default:
    @just --list

# Everything that has to pass before a change lands: tests, format, lints, dependencies.
check: test fmt-check lint deps

# All tests.
test:
    cargo test --workspace

# Formatting, without changing anything.
fmt-check:
    cargo fmt --all --check

# Lints, as errors.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Direction, bans and licences of dependencies.
deps:
    cargo test -p keymesh-benches --test layers
    @command -v cargo-deny >/dev/null && cargo deny check bans licenses sources || echo "cargo-deny is not installed: checked by the layers test alone"

# The main job on real nodes.
demo *ARGS:
    cargo run --release -p keymesh-testnet -- demo {{ARGS}}

# A scenario on real nodes by name; without one they are listed.
scenario NAME="" *ARGS:
    cargo run --release -p keymesh-testnet -- {{ if NAME == "" { "list" } else { "run " + NAME } }} {{ARGS}}

# One simulated scenario by seed.
sim SEED *ARGS:
    cargo run --release -p keymesh-sim -- run --seed {{SEED}} {{ARGS}}

# Whether seeds have the same hash in a debug and in a release build.
same-hash SEEDS="1 2 3 4 5":
    cargo build -p keymesh-sim
    cargo build --release -p keymesh-sim
    @for seed in {{SEEDS}}; do \
        debug=$(cargo run --quiet -p keymesh-sim -- run --seed $seed | grep '^hash '); \
        release=$(cargo run --quiet --release -p keymesh-sim -- run --seed $seed | grep '^hash '); \
        echo "seed $seed: $debug in debug, $release in release"; \
        [ -n "$debug" ] && [ "$debug" = "$release" ] || exit 1; \
    done

# Whether a recorded scenario comes out the same.
replay FILE:
    cargo run --release -p keymesh-sim -- replay {{FILE}}

# A smaller scenario that fails in the same check, of a seed or a trace.
shrink SOURCE *ARGS:
    cargo run --release -p keymesh-sim -- shrink {{SOURCE}} {{ARGS}}

# What happens in a scenario, in words and as a picture.
explain SOURCE SVG="target/explain.svg":
    cargo run --release -p keymesh-sim -- explain {{SOURCE}} --svg {{SVG}}

# Many simulated scenarios: slower than the default tests.
sweep FROM="0" TO="500" *ARGS:
    cargo run --release -p keymesh-sim -- sweep --seeds {{FROM}}..{{TO}} --jobs "$(nproc)" {{ARGS}}

# Seeded mistakes of the core: every one has to be noticed by the default mix.
mutants JSON="target/mutants.json" *ARGS:
    cargo run --release -p keymesh-sim --features mutants -- sweep --mutant all --jobs "$(nproc)" --json {{JSON}} {{ARGS}}

# Small changes to the rules of authority, policy and leases, one after the other: the core's tests have to notice each.
cargo-mutants *ARGS:
    @command -v cargo-mutants >/dev/null || { echo "cargo-mutants is not installed: cargo install cargo-mutants --locked"; exit 1; }
    @mkdir -p target
    CARGO_INCREMENTAL=1 cargo mutants -p keymesh-mesh --test-package keymesh-mesh --output target {{ARGS}}

# The agreement on epochs, in more ballots and larger committees than the default tests have time for.
model:
    cargo test --release -p keymesh-mesh --test agreement_model -- --include-ignored

# Random and mutated bytes for every decoder of the formats and of custody, far more of them than the default tests try.
fuzz CASES="100000":
    PROPTEST_CASES={{CASES}} cargo test --release -p keymesh-custody --lib malformed
    PROPTEST_CASES={{CASES}} cargo test --release -p keymesh-wire --test formats random

# How the cost of the mesh grows with its size: figures and a plot in docs/simulation.
scale *ARGS:
    cargo run --release -p keymesh-sim -- scale {{ARGS}}

# Releases per second and latency, end to end.
bench *ARGS="release --connections 8 --seconds 10 --json -":
    cargo run --release -p keymesh-benches -- {{ARGS}}

# Blind releases and lease openings between zones 40 ms apart: real nodes in network namespaces, so this takes root.
wan *ARGS="--one-way-ms 40":
    cargo run --release -p keymesh-benches -- wan {{ARGS}}

# The static agent, small enough for an initramfs, and its size.
agent-static:
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile agent -p keymesh-agent --target x86_64-unknown-linux-gnu
    @ls -l target/x86_64-unknown-linux-gnu/agent/keymesh-agent
