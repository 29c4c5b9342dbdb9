//! Agora tokens: build, read and verify version 007 ("AccessToken2") and version 006 ("AccessToken").
//!
//! The crate has two layers. **Builders** take services and a lifetime, hold Agora's limits, and draw a fresh salt: a server that
//! issues tokens needs nothing else. **Claims** are the exact content of a token, field by field, for every service type and any
//! value the format can hold: tests and tools use them. Reading gives a parsed token whose verdicts (signature, App ID, expiry,
//! privileges) are asked for one at a time, because a valid signature alone authorises nothing.
//!
//! Lifetimes are [`Duration`](std::time::Duration) and moments are [`SystemTime`](std::time::SystemTime) or [`Timestamp`], so the
//! classic mistake, an absolute time where 007 wants seconds, does not compile. No function reads the clock.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use agora_token_rs::v007::{AccessToken2, Builder};
//! use agora_token_rs::{Credentials, RtcPrivilege, RtcService, RtmService, User};
//!
//! # fn main() -> Result<(), agora_token_rs::Error> {
//! let credentials = Credentials::parse("970CA35de60c44645bbae8a215061b33", "5CFd2fd1755d40ecb72977518be15d3b")?;
//! let now = SystemTime::now();
//!
//! let text = Builder::new(now, Duration::from_secs(3600))
//!     .rtc(RtcService::publisher("call_42", User::Uid(1001)))
//!     .rtm(RtmService::new("1001"))
//!     .build(&credentials)?;
//!
//! let token = AccessToken2::parse(text.as_str())?;
//! token.verify_signature(&credentials.certificate)?;
//! assert!(token.is_for_app(&credentials.app_id));
//! assert!(!token.is_expired_at(now));
//! assert!(token.rtc_privilege_ends_at("call_42", &User::Uid(1001), RtcPrivilege::JoinChannel).is_some());
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

mod credentials;
mod error;
mod hashing;
mod policy;
mod salt;
mod services;
mod text;
mod timestamp;
mod user;
pub mod v006;
pub mod v007;
mod wire;

pub use credentials::{AppCertificate, AppId, Credentials};
pub use error::{Error, Result};
pub use policy::{MAX_ACCOUNT_BYTES, MAX_CHANNEL_BYTES, MAX_LIFETIME};
pub use services::{RtcPrivilege, RtcService, RtmService};
pub use text::{MAX_TEXT_BYTES, TokenText, TokenVersion};
pub use timestamp::Timestamp;
pub use user::User;
