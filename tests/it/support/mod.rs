//! Tools of the tests: a server in this process, clients that speak raw Socket.IO, stores of either kind.

pub mod client;
pub mod mongo;
pub mod people;
pub mod program;
pub mod recorder;
pub mod server;
pub mod stores;
