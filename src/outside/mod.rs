//! The way out: Google's and Apple's push services, the webhook and a collector of traces, by HTTP. Knows what they answer and what that means, not who is
//! told what; that is `services/push`. Never waited for by a request.
//!
//! All addresses come from the settings, so that tests play the other side on a loopback address.

mod access_token;
mod apns;
mod fcm;
mod http;
#[cfg(feature = "otel")]
mod otlp;
mod webhook;

use std::time::Duration;

use crate::models::Timestamp;

pub use apns::{Apns, ApnsKey, VoipPush};
pub use fcm::{Fcm, FcmPush, ServiceAccount};
#[cfg(feature = "otel")]
pub use otlp::{TraceTarget, Traces};
pub use webhook::{Webhook, signature};

/// What became of something that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The other side took it.
    Accepted,
    /// The device is no more: its token is to be forgotten, unless it was registered since it was last known to be dead.
    Gone {
        /// In the other side's word.
        why: &'static str,
        /// When the other side found that out, if it says so; otherwise it is as of the asking.
        known_at: Option<Timestamp>,
    },
    /// It will not be taken, however often it is tried; the token stays.
    Refused(String),
    /// Not now. With the time the other side asks for, if it does.
    Later {
        /// Why.
        why: String,
        /// As long the other side wants to be left alone.
        after: Option<Duration>,
        /// Whether it may have been taken all the same.
        maybe_taken: bool,
    },
}

impl Sent {
    fn gone(why: &'static str) -> Self {
        Self::Gone { why, known_at: None }
    }

    fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None, maybe_taken: false }
    }

    /// A word for counting.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Gone { .. } => "gone",
            Self::Refused(_) => "refused",
            Self::Later { .. } => "later",
        }
    }
}

/// Where things can be sent to; each only if the settings name it. Has no `Debug`: there are keys inside.
#[derive(Clone, Default)]
pub struct Outside {
    /// Firebase Cloud Messaging.
    pub fcm: Option<Fcm>,
    /// Apple, for rings.
    pub apns: Option<Apns>,
    /// The operator's own program.
    pub webhook: Option<Webhook>,
}

impl Outside {
    /// Whether phones and browsers can be reached.
    pub fn pushes(&self) -> bool {
        self.fcm.is_some() || self.apns.is_some()
    }

    /// Whether there is nowhere to send anything.
    pub fn is_empty(&self) -> bool {
        !self.pushes() && self.webhook.is_none()
    }
}
