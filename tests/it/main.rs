//! Integration tests: the real server over real sockets and real stores.

mod architecture;
mod auth;
mod call_model;
mod call_races;
mod call_replay;
mod crash;
mod crash_calls;
mod delivery;
mod fuzz;
mod gate;
mod hostile;
mod injection;
mod logs;
mod messages;
mod mongo_calls;
mod mongo_documents;
mod mongo_trust;
mod permissions;
mod rejoin;
mod sessions;
mod sockets;
mod store_calls;
mod store_contract;
mod store_trust;
mod support;
