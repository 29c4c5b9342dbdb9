//! The crate as a user sees it, held against the vectors in `tests/data`.

mod altered_tokens;
mod building;
mod parsing;
mod policy;
mod rejects;
mod support;
mod typed_builders;
mod v006;
mod verdicts;
