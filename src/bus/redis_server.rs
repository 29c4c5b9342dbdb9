//! The Redis that carries the bus: the one that is named, or in a cluster the member that keeps our names.
//!
//! All names of a bus share a hash tag, so in a cluster all of them are one member's: what a node says then keeps its order, which several members
//! would not promise. That member is asked for anew with every connection, so a failover or a moved slot is an outage of seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, Pipeline, RedisError, RedisResult, Value};

use super::PATIENCE;

/// Where Redis may be asked. Cheap to clone.
#[derive(Clone)]
pub(super) struct RedisServer {
    /// Any of them will do; the next one is tried when one does not answer.
    seeds: Arc<[Client]>,
    turn: Arc<AtomicUsize>,
    /// Some name of ours.
    name: Arc<str>,
}

/// A connection to the server that carries the bus.
pub(super) struct Line {
    pub connection: MultiplexedConnection,
    pub words: Words,
}

/// What publishing and subscribing are called there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// A server of its own.
    Plain,
    /// A member of a cluster: only those who ask this shard hear what is said on it, so nothing travels between members.
    Sharded,
}

impl Words {
    pub fn publish(self) -> &'static str {
        if self == Self::Sharded { "SPUBLISH" } else { "PUBLISH" }
    }

    pub fn subscribe(self, channels: &[String]) -> Pipeline {
        each(if self == Self::Sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" }, channels)
    }

    pub fn unsubscribe(self, channels: &[String]) -> Pipeline {
        each(if self == Self::Sharded { "SUNSUBSCRIBE" } else { "UNSUBSCRIBE" }, channels)
    }
}

/// One command for each: Redis confirms every channel by itself, and answers are counted by commands.
fn each(command: &str, channels: &[String]) -> Pipeline {
    let mut pipe = redis::pipe();
    for channel in channels {
        pipe.cmd(command).arg(channel).ignore();
    }
    pipe
}

impl RedisServer {
    /// `prefix` is what all names begin with, and holds their hash tag. There must be an address.
    pub fn new(seeds: Vec<Client>, prefix: &str) -> Self {
        Self { seeds: seeds.into(), turn: Arc::default(), name: prefix.into() }
    }

    /// Connects to it.
    pub async fn connect(&self, config: &AsyncConnectionConfig) -> RedisResult<Line> {
        let turn = self.turn.load(Ordering::Relaxed);
        let Some(seed) = self.seeds.get(turn % self.seeds.len().max(1)) else {
            return Err((ErrorKind::InvalidClientConfig, "no address of Redis").into());
        };
        let line = self.connect_by(seed, config).await;
        if line.is_err() {
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        line
    }

    async fn connect_by(&self, seed: &Client, config: &AsyncConnectionConfig) -> RedisResult<Line> {
        // Without the listener in `config`, which would take the end of this connection for the end of its own.
        let plain = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let mut asking = seed.get_multiplexed_async_connection_with_config(&plain).await?;
        // A server that refuses to say is no member of a cluster we could find our way in.
        let info: String = redis::cmd("INFO").arg("cluster").query_async(&mut asking).await.unwrap_or_default();
        if !info.contains("cluster_enabled:1") {
            let connection = seed.get_multiplexed_async_connection_with_config(config).await?;
            return Ok(Line { connection, words: Words::Plain });
        }
        let slot: i64 = redis::cmd("CLUSTER").arg("KEYSLOT").arg(&*self.name).query_async(&mut asking).await?;
        let ranges: Vec<Value> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut asking).await?;
        let Some((host, port)) = ranges.iter().find_map(|range| keeper(range, slot)) else {
            return Err(RedisError::from((ErrorKind::InvalidClientConfig, "no member of the cluster keeps our names")));
        };
        let info = seed.get_connection_info().clone();
        let address = elsewhere(info.addr(), host, port);
        let connection = Client::open(info.set_addr(address))?.get_multiplexed_async_connection_with_config(config).await?;
        Ok(Line { connection, words: Words::Sharded })
    }
}

/// The member that keeps a slot, if this range of `CLUSTER SLOTS` holds it. A member that does not know its own name leaves it out.
fn keeper(range: &Value, slot: i64) -> Option<(Option<String>, u16)> {
    let Value::Array(range) = range else { return None };
    let [Value::Int(from), Value::Int(to), Value::Array(member), ..] = range.as_slice() else { return None };
    if !(*from..=*to).contains(&slot) {
        return None;
    }
    let host = match member.first()? {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok().filter(|host| !host.is_empty()),
        _ => None,
    };
    let Value::Int(port) = member.get(1)? else { return None };
    Some((host, u16::try_from(*port).ok()?))
}

/// The same kind of address at another place.
fn elsewhere(address: &ConnectionAddr, other_host: Option<String>, other_port: u16) -> ConnectionAddr {
    match address.clone() {
        ConnectionAddr::Tcp(host, _) => ConnectionAddr::Tcp(other_host.unwrap_or(host), other_port),
        ConnectionAddr::TcpTls { host, insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: other_host.unwrap_or(host), port: other_port, insecure, tls_params }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_found_at_its_master_whether_it_says_its_name_or_not() {
        let member = |host: &[u8], port| Value::Array(vec![Value::BulkString(host.to_vec()), Value::Int(port)]);
        let range = Value::Array(vec![Value::Int(100), Value::Int(200), member(b"10.0.0.1", 7001), member(b"10.0.0.2", 7002)]);
        assert_eq!(keeper(&range, 200), Some((Some("10.0.0.1".into()), 7001)));
        assert_eq!(keeper(&range, 99), None);
        let unnamed = Value::Array(vec![Value::Int(0), Value::Int(5), member(b"", 7001)]);
        assert_eq!(keeper(&unnamed, 5), Some((None, 7001)));
        let here = ConnectionAddr::Tcp("redis.example".into(), 6379);
        assert_eq!(elsewhere(&here, None, 7001), ConnectionAddr::Tcp("redis.example".into(), 7001));
    }
}
