//! The one error type of the crate. Each variant is something a caller can act on, and none of them carries secret text.

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a token could not be built, read or verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The App ID is not 32 hexadecimal digits. Best found when the configuration is loaded.
    #[error("the app id is not 32 hexadecimal digits")]
    InvalidAppId,

    /// The App Certificate is not 32 hexadecimal digits. The offending text is left out on purpose: it may be a real secret, mistyped.
    #[error("the app certificate is not 32 hexadecimal digits")]
    InvalidCertificate,

    /// A 007 token was asked for without any service.
    #[error("a 007 token needs at least one service")]
    NoService,

    /// A text, list or whole token is longer than the format, or Agora's own limit, allows.
    #[error("{field} is too long")]
    FieldTooLong {
        /// Which one, in the words of the format.
        field: &'static str,
    },

    /// A builder was given an empty name. An empty RTC account admits anyone, so it has to be asked for with `User::Uid(0)`.
    #[error("{field} is empty")]
    EmptyField {
        /// Which one, in the words of the format.
        field: &'static str,
    },

    /// A lifetime is over 24 hours for a builder, or over `u32::MAX` seconds for claims.
    #[error("the lifetime is too long")]
    LifetimeTooLong,

    /// A builder was given a lifetime of less than one second.
    #[error("the lifetime is shorter than one second")]
    ZeroLifetime,

    /// A moment lies before 1970 or after the last second an unsigned 32-bit Unix time can hold (in 2106).
    #[error("the time does not fit an unsigned 32-bit Unix time")]
    TimeOutOfRange,

    /// The operating system's random source failed, so no salt could be drawn.
    #[error("no random salt: {reason}")]
    RandomnessUnavailable {
        /// What the operating system said.
        reason: String,
    },

    /// The text begins like a token of this version but cannot be read.
    #[error("malformed token, at {at}")]
    Malformed {
        /// The part being read when it went wrong; never a piece of the token itself.
        at: &'static str,
    },

    /// The first three characters name no known version, or not the version this reader reads.
    #[error("unsupported token version")]
    UnsupportedVersion,

    /// The token was read, but the certificate does not give its signature.
    #[error("the signature does not match")]
    SignatureMismatch,

    /// A 006 token was made for another channel or another user than the ones it was checked against.
    #[error("the token is for another channel or user")]
    ChannelOrUserMismatch,
}
