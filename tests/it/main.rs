//! Integration tests: the real server over real sockets and real stores.

mod architecture;
mod call_model;
mod call_races;
mod call_replay;
mod crash;
mod crash_calls;
mod delivery;
mod messages;
mod mongo_calls;
mod mongo_documents;
mod sockets;
mod store_calls;
mod store_contract;
mod support;
