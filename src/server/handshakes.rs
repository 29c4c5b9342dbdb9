//! How many sessions one address may begin in a minute.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::transport::counted_as;

/// Addresses are swept when their number has doubled since the last time, but not before this many.
const SWEEP_FROM: usize = 1024;

/// The rate, and who has used how much of it.
///
/// An address is forgotten once it could do as much as one never seen. So at most as many are remembered as have come within the
/// time between two permitted handshakes (50 ms by default) and those who came faster than that, and twice as many between two sweeps.
pub struct HandshakeRate<C: Clock = DefaultClock> {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, C, NoOpMiddleware<C::Instant>>,
    sweep_at: AtomicUsize,
}

impl HandshakeRate {
    /// As many a minute, and as many at once.
    pub fn per_minute(count: NonZeroU32) -> Self {
        Self::with_clock(count, DefaultClock::default())
    }
}

impl<C: Clock> HandshakeRate<C> {
    fn with_clock(count: NonZeroU32, clock: C) -> Self {
        let limiter = RateLimiter::hashmap_with_clock(Quota::per_minute(count), clock);
        Self { limiter, sweep_at: AtomicUsize::new(SWEEP_FROM) }
    }

    /// Takes note of one handshake. Errors: it is one too many; how long until the next is let through.
    pub fn check(&self, address: IpAddr) -> Result<(), Duration> {
        if self.limiter.len() >= self.sweep_at.load(Ordering::Relaxed) {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
            self.sweep_at.store((self.limiter.len() * 2).max(SWEEP_FROM), Ordering::Relaxed);
        }
        self.limiter.check_key(&counted_as(address)).map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use governor::clock::FakeRelativeClock;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn rate(per_minute: u32) -> (HandshakeRate<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (HandshakeRate::with_clock(NonZeroU32::new(per_minute).expect("not 0"), clock.clone()), clock)
    }

    #[test]
    fn a_burst_is_let_through_then_one_at_a_time_and_each_address_for_itself() {
        let (rate, clock) = rate(60);
        assert!((0..60).all(|_| rate.check(address(1)).is_ok()));
        let wait = rate.check(address(1)).expect_err("one too many");
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(rate.check(address(2)).is_ok());
        clock.advance(wait);
        assert!(rate.check(address(1)).is_ok() && rate.check(address(1)).is_err());
    }

    #[test]
    fn addresses_that_come_and_go_are_forgotten() {
        let (rate, clock) = rate(1200);
        for number in 0..100_000 {
            clock.advance(Duration::from_millis(1));
            assert!(rate.check(address(number)).is_ok());
            assert!(rate.limiter.len() <= SWEEP_FROM);
        }
    }
}
