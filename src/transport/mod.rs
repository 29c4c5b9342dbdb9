//! TCP connections that can be counted, watched and cut, and who is at their other end.
//!
//! The socket library cannot close a transport, and a client that stops reading would keep its session for ever;
//! both are solved below it, on the connection itself.

mod address;
mod guarded;
mod links;
mod places;
mod query;

pub use address::{ClientAddress, TrustedProxies, counted_as};
pub use guarded::GuardedIo;
pub use links::{Link, Links, PollNote};
pub use places::{Admission, Place, Places};
pub use query::engine_query;
