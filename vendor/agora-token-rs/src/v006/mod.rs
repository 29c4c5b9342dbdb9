//! Version 006, "AccessToken": what older servers issued. One channel or one RTM account per token, absolute times.
//!
//! Start at [`AccessToken`] to read and verify; use [`Builder`] only where a 006 token is asked for by name. New work issues
//! [`v007`](crate::v007).

mod builder;
mod claims;
mod token;

pub use builder::Builder;
pub use claims::{Claims, RTM_LOGIN};
pub use token::AccessToken;
