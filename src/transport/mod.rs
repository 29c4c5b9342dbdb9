//! TCP connections that can be watched and cut.
//!
//! The socket library cannot close a transport, and a client that stops reading would keep its session for ever;
//! both are solved below it, on the connection itself.

mod guarded;
mod links;

pub use guarded::GuardedIo;
pub use links::{Link, Links};
