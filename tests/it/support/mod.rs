//! Tools of the tests: a server in this process, clients that speak raw Socket.IO, stores of either kind.

pub mod client;
pub mod recorder;
pub mod server;
pub mod stores;
