//! Where a client is, when there may be proxies between it and us.
//!
//! Anybody can write an `X-Forwarded-For`, so it is read only from the right, and only as far as those who wrote it are trusted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use ipnet::IpNet;

/// The address of whoever made a request, as an extension of the request. Made by the listener alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The proxies whose `X-Forwarded-For` is believed (`TRUSTED_PROXIES`). Cheap to clone.
#[derive(Clone, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }

    /// Whether this address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind `peer`: the peer itself, or if it is trusted, the rightmost address of `X-Forwarded-For` that is not.
    ///
    /// An entry that is no address ends the walk at the last proxy before it. The outcome is a trusted address only if nobody else was named.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut client = peer.to_canonical();
        if !self.contains(client) {
            return ClientAddress(client);
        }
        // Several header lines are one list, in their order.
        let lines = headers.get_all("x-forwarded-for");
        let entries = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        for entry in entries.collect::<Vec<_>>().into_iter().rev() {
            let Some(address) = parse(entry) else { break };
            client = address;
            if !self.contains(client) {
                break;
            }
        }
        ClientAddress(client)
    }
}

/// An entry of `X-Forwarded-For`; some proxies add the port.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let address = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    Some(address.ok()?.to_canonical())
}

/// What a limit counts as one address: of IPv6 the /64 network, because whoever has one address there has all of them.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, forwarded: &[&str]) -> String {
        let networks = trusted.split(',').filter(|t| !t.is_empty()).map(|t| t.parse().expect("a network"));
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().expect("a header value"));
        }
        let ClientAddress(address) = TrustedProxies::new(networks.collect()).client(peer.parse().expect("an address"), &headers);
        address.to_string()
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        assert_eq!(client("", "9.9.9.9", &["1.1.1.1"]), "9.9.9.9");
        assert_eq!(client("10.0.0.0/8", "9.9.9.9", &["1.1.1.1"]), "9.9.9.9");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_client() {
        assert_eq!(
            client("10.0.0.0/8", "10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.2.2.2"]),
            "1.1.1.1",
            "what stands before is the client's own word"
        );
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["6.6.6.6", "1.1.1.1,10.2.2.2"]), "1.1.1.1", "several lines are one list");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["10.3.3.3, 10.2.2.2"]), "10.3.3.3", "all of them trusted");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_walk() {
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["6.6.6.6, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["6.6.6.6, , 10.2.2.2"]), "10.2.2.2");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["\u{e9}"]), "10.0.0.1");
    }

    #[test]
    fn every_spelling_of_an_address_is_the_same_address() {
        assert_eq!(client("10.0.0.0/8", "::ffff:10.0.0.1", &["::ffff:1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["1.1.1.1:4711"]), "1.1.1.1");
        assert_eq!(client("fd00::/8", "fd00::1", &["[2001:db8::7]:4711"]), "2001:db8::7");
    }

    #[test]
    fn limits_count_networks_of_ipv6_and_addresses_of_ipv4() {
        let counted = |text: &str| counted_as(text.parse().expect("an address")).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("1.2.3.4"), "1.2.3.4");
        assert_eq!(counted("::ffff:1.2.3.4"), "1.2.3.4");
    }
}
