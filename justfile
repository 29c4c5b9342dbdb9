# Shorthand for the commands of README.md and CI.

# Run the server with what the environment and .env say.
run:
    cargo run --release

# What must pass before a commit.
check:
    cargo fmt --all --check
    scripts/licences
    cargo clippy --workspace --all-targets --locked -- -D warnings
    scripts/mongod run -- cargo test --workspace --locked

# Everything, as CI runs it.
test:
    scripts/test
