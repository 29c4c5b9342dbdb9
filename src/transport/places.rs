//! How many TCP connections there may be, in total and from one address.
//!
//! Every connection holds a [`Place`] for as long as its stream lives, upgraded or not; dropping it gives the place back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address::counted_as;

/// Connections beyond the total that may still ask whether the server lives.
const SPARE: usize = 32;

/// What is counted, and up to what. Cheap to clone.
#[derive(Clone)]
pub struct Places(Arc<Counted>);

struct Counted {
    total: usize,
    per_address: usize,
    // std Mutex: never held across an await.
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    // Addresses without a connection are not kept.
    by_address: HashMap<IpAddr, usize>,
}

/// Whether a connection may come in.
pub enum Admission {
    /// It may.
    Seated(Place),
    /// The server is full; the connection may ask after its health and nothing else.
    Spare(Place),
    /// The server is full, and even the spare places are taken.
    Full,
    /// Its address has as many connections as one may have.
    TooManyFromAddress,
}

/// One connection among those that are counted.
pub struct Place {
    places: Places,
    counted_as: Option<IpAddr>,
}

impl Places {
    /// At most `total` connections, of them at most `per_address` from one address.
    pub fn new(total: usize, per_address: usize) -> Self {
        Self(Arc::new(Counted { total, per_address, counts: Mutex::default() }))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection from this address; without one (a proxy) only the total counts.
    pub fn take(&self, address: Option<IpAddr>) -> Admission {
        let counted_as = address.map(counted_as);
        let mut counts = self.counts();
        if counts.all >= self.0.total.saturating_add(SPARE) {
            return Admission::Full;
        }
        if let Some(address) = counted_as {
            if counts.by_address.get(&address).is_some_and(|count| *count >= self.0.per_address) {
                return Admission::TooManyFromAddress;
            }
            *counts.by_address.entry(address).or_default() += 1;
        }
        let full = counts.all >= self.0.total;
        counts.all += 1;
        drop(counts);
        let place = Place { places: self.clone(), counted_as };
        if full { Admission::Spare(place) } else { Admission::Seated(place) }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.counts().all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.counts();
        counts.all -= 1;
        let Some(address) = self.counted_as else { return };
        if let Some(count) = counts.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn an_address_has_its_share_and_a_proxy_has_none() {
        let places = Places::new(100, 2);
        let held: Vec<_> = [1, 1, 2].map(|n| places.take(from(n))).into();
        assert!(held.iter().all(|admission| matches!(admission, Admission::Seated(_))));
        assert!(matches!(places.take(from(1)), Admission::TooManyFromAddress));
        let proxied: Vec<_> = (0..10).map(|_| places.take(None)).collect();
        assert!(proxied.iter().all(|admission| matches!(admission, Admission::Seated(_))));
        assert_eq!(places.taken(), 13);
        drop(held);
        assert!(matches!(places.take(from(1)), Admission::Seated(_)));
    }

    #[test]
    fn a_full_server_keeps_some_places_for_probes_and_forgets_nobody_and_nothing() {
        let places = Places::new(2, 100);
        let held: Vec<_> = (0..2 + SPARE).map(|n| places.take(from(u8::try_from(n).expect("small")))).collect();
        assert!(matches!(held[1], Admission::Seated(_)) && matches!(held[2], Admission::Spare(_)));
        assert!(matches!(places.take(from(200)), Admission::Full));
        drop(held);
        assert!(places.counts().by_address.is_empty() && places.taken() == 0);
    }
}
