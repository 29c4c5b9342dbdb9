//! How things stand here now, for those who look after the server: what cannot be counted as it happens is looked up when it is asked for.

use crate::delivery::Transport;
use crate::metrics;
use crate::models::ParticipantKind;

use super::Services;

/// How many sockets there are, by transport and type of person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    counts: [[usize; 3]; 2],
}

const TRANSPORTS: [Transport; 2] = [Transport::Websocket, Transport::Polling];
const KINDS: [ParticipantKind; 3] = [ParticipantKind::User, ParticipantKind::Astrologer, ParticipantKind::Admin];

impl Sockets {
    fn cells(&self) -> impl Iterator<Item = (Transport, ParticipantKind, usize)> + '_ {
        let row = |(transport, row): (Transport, &'static [ParticipantKind; 3])| row.iter().map(move |kind| (transport, *kind));
        TRANSPORTS
            .into_iter()
            .map(|transport| (transport, &KINDS))
            .flat_map(row)
            .zip(self.counts.as_flattened())
            .map(|((transport, kind), count)| (transport, kind, *count))
    }

    /// By transport.
    pub fn by(&self, transport: Transport) -> usize {
        self.cells().filter(|(of, _, _)| *of == transport).map(|(_, _, count)| count).sum()
    }

    /// Of people of this type.
    pub fn of(&self, kind: ParticipantKind) -> usize {
        self.cells().filter(|(_, of, _)| *of == kind).map(|(_, _, count)| count).sum()
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.cells().map(|(_, _, count)| count).sum()
    }
}

/// Calls that are not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenCalls {
    /// Not answered yet.
    pub ringing: usize,
    /// Answered.
    pub active: usize,
}

/// How things stand.
#[derive(Clone, Copy, Debug)]
pub struct Stock {
    /// Sockets of this node.
    pub sockets: Sockets,
    /// Calls this node knows of.
    pub calls: OpenCalls,
    /// Writes that wait for the store.
    pub write_queue: i64,
}

impl Services {
    /// Looks, and brings the gauges up to date. Costs a look at every socket, so it is for scrapes, not for requests.
    pub fn take_stock(&self) -> Stock {
        let (core, calling) = (self.core(), self.calling());
        let mut sockets = Sockets::default();
        for connection in core.delivery.all_connections() {
            let row = usize::from(connection.transport() == Transport::Polling);
            let column = KINDS.iter().position(|kind| *kind == connection.identity().kind()).unwrap_or_default();
            sockets.counts[row][column] += 1;
        }
        let (calls, measured) = (calling.open_here(), &core.metrics);
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (transport, kind, count) in sockets.cells() {
            measured.connections.with_label_values(&[transport.as_str(), kind.as_str()]).set(gauge(count));
        }
        measured.calls.with_label_values(&["ringing"]).set(gauge(calls.ringing));
        measured.calls.with_label_values(&["active"]).set(gauge(calls.active));
        measured.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), core.store.engine()]).set(1);
        measured.bus_configured.set(i64::from(core.bus.is_some()));
        if let Some(health) = core.bus.as_ref().map(crate::bus::Bus::health) {
            measured.bus_healthy.set(i64::from(health.up));
            measured.bus_nodes.set(gauge(health.nodes));
            metrics::raise(&measured.bus_told, health.told);
            metrics::raise(&measured.bus_heard, health.heard);
            metrics::raise(&measured.bus_lost, health.lost);
            metrics::raise(&measured.bus_gaps, health.gaps);
        }
        Stock { sockets, calls, write_queue: core.store.metrics().queue_depth.get() }
    }
}
