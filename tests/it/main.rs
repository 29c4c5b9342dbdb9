//! Integration tests: the real server over real sockets and real stores.

mod architecture;
mod crash;
mod delivery;
mod messages;
mod mongo_documents;
mod sockets;
mod store_contract;
mod support;
