//! Samvad: a realtime messaging and calling server that Socket.IO clients already speak to.
//!
//! A message travels downhill: `handlers` or `rest` to `services` to `store`, then `delivery`, then the answer.
//! `docs/architecture.md` draws the way; `docs/protocol.md` says what travels on the wire.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]
#![deny(clippy::await_holding_lock)]

pub mod app;
pub mod auth;
pub mod bus;
pub mod config;
pub mod contract;
pub mod delivery;
pub mod error;
pub mod files;
pub mod handlers;
pub mod metrics;
pub mod models;
pub mod observability;
pub mod outside;
pub mod rest;
pub mod server;
pub mod services;
pub mod store;
pub mod traces;
pub mod transport;
pub mod wire;
