//! Tools of the tests: a server in this process, clients that speak raw Socket.IO, stores of either kind.

pub mod attacker;
pub mod client;
pub mod contract;
pub mod held_line;
pub mod http;
pub mod issuer;
pub mod mongo;
pub mod nodes;
pub mod outside;
pub mod people;
pub mod program;
pub mod proxy;
pub mod recorder;
pub mod redis;
pub mod redis_cluster;
pub mod redis_tls;
pub mod server;
pub mod stores;
pub mod watched;
pub mod world;
