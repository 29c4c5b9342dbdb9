//! Version 007, "AccessToken2": the one to issue. Several services in one token, lifetimes counted from the moment of issue.
//!
//! Start at [`Builder`] to make tokens and at [`AccessToken2`] to read them. [`Claims`] is what both agree on.

mod body;
mod builder;
mod claims;
mod compression;
mod permissions;
mod service;
mod signing;
mod token;
mod verdicts;

pub use builder::Builder;
pub use claims::Claims;
pub use compression::MAX_BODY_BYTES;
pub use permissions::Permissions;
pub use service::{Payload, Service};
pub use token::AccessToken2;
