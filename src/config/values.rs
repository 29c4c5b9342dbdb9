//! Understands texts of one kind each: durations, addresses, lists of names.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

/// Which browser origins may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Any, without credentials.
    Any,
    /// These, with credentials.
    Only(Vec<http::HeaderValue>),
}

/// Where something may be sent: encrypted, or on this machine.
pub(super) fn outside_url(text: &str) -> Option<reqwest::Url> {
    jwks_url(text)?;
    text.parse().ok()
}

/// An address whose answer can be believed: encrypted, or from this machine.
pub(super) fn jwks_url(text: &str) -> Option<http::Uri> {
    let url: http::Uri = text.parse().ok()?;
    let host = url.host().filter(|host| !host.is_empty())?;
    let is_loopback = || {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    let is_believable = match url.scheme_str()? {
        "https" => true,
        "http" => is_loopback(),
        _ => false,
    };
    let names_nobody = !url.authority()?.as_str().contains('@');
    (is_believable && names_nobody).then_some(url)
}

/// Reads `500ms`, `10s`, `5m`, `24h` or plain seconds. Source: docs/protocol.md#settings.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    match text[digits..].trim() {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(86_400).map(Duration::from_secs),
        _ => None,
    }
}

pub(super) fn cors(text: &str) -> Option<Cors> {
    if text == "*" {
        return Some(Cors::Any);
    }
    let origin = |origin: &str| {
        let origin = origin.trim().trim_end_matches('/');
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))?;
        // Browsers write it in lower case, and it is compared byte by byte.
        (!host.is_empty() && !host.contains('/')).then(|| http::HeaderValue::from_str(&origin.to_ascii_lowercase()).ok())?
    };
    text.split(',').filter(|o| !o.trim().is_empty()).map(origin).collect::<Option<Vec<_>>>().map(Cors::Only)
}

/// Names, each with a dot and no scheme, port or path; a leading `*.` stands for what is under it.
pub(super) fn hosts(text: &str) -> Option<Vec<String>> {
    let host = |text: &str| {
        let labels = text.strip_prefix("*.").unwrap_or(text).split('.');
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let names = labels.clone().count() > 1 && labels.clone().all(is_label);
        names.then(|| text.to_ascii_lowercase())
    };
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(host).collect()
}

/// Addresses and networks, separated by commas. IPv4 written as IPv6 (`::ffff:10.0.0.0/104`) is IPv4, as the addresses compared with it are.
pub(super) fn networks(text: &str) -> Option<Vec<IpNet>> {
    let network = |text: &str| {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
        match (network.addr().to_canonical(), network.prefix_len()) {
            (IpAddr::V4(v4), length) if network.addr().is_ipv6() && length >= 96 => Ipv4Net::new(v4, length - 96).ok().map(IpNet::V4),
            _ => Some(network),
        }
    };
    text.split(',').map(str::trim).filter(|network| !network.is_empty()).map(network).collect()
}
