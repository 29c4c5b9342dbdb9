//! One message between nodes: a line that says whose it is and what kind, then a body only its readers understand.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::models::ProcessId;

/// The version of the line and of all bodies. Nodes pass over what they do not know, so fields may be added without a new one.
const VERSION: u8 = 1;

/// Names a node from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(Arc<str>);

impl From<ProcessId> for NodeId {
    fn from(process: ProcessId) -> Self {
        Self(process.to_string().into())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The node lives. Said every second.
    Beat,
    /// The node begins; the others answer with a beat.
    Hello,
    /// The node ends, and has told everything.
    Bye,
    /// The node could not tell everything; the body says since when.
    Gap,
    /// Something was said to sockets.
    Emission,
    /// Something changed that others keep in memory.
    Notice,
}

#[derive(Serialize, Deserialize)]
struct Head {
    v: u8,
    from: NodeId,
    n: u64,
    kind: Kind,
}

/// A message as it arrived.
#[derive(Debug)]
pub struct Packet {
    /// Who says it.
    pub from: NodeId,
    /// Counts up with everything that node says.
    pub(super) n: u64,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub body: Vec<u8>,
}

/// The bytes that travel.
pub(super) fn write(from: &NodeId, n: u64, kind: Kind, body: &[u8]) -> Vec<u8> {
    let head = Head { v: VERSION, from: from.clone(), n, kind };
    // A head is plain text and numbers.
    let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    bytes
}

/// The message in these bytes; `None` if it is of another version or none of ours.
pub(super) fn read(bytes: &[u8]) -> Option<Packet> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
    (head.v == VERSION).then(|| Packet { from: head.from, n: head.n, kind: head.kind, body: bytes[end + 1..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_and_another_version_is_passed_over() {
        let node = NodeId::from(ProcessId::random());
        let bytes = write(&node, 7, Kind::Notice, b"{\"a\":\n1}");
        let packet = read(&bytes).expect("ours");
        assert_eq!((packet.from, packet.n, packet.kind, packet.body.as_slice()), (node, 7, Kind::Notice, b"{\"a\":\n1}".as_slice()));
        let newer = String::from_utf8(bytes).expect("text").replacen("\"v\":1", "\"v\":2", 1);
        assert!(read(newer.as_bytes()).is_none());
        assert!(read(b"no line at all").is_none());
    }
}
