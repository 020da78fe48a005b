//! How often each address was refused lately. Pure: time is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use tokio::time::Instant;

/// Most addresses that are told apart, at 60 bytes each. When there are more, the rest is counted together.
const MAX_ADDRESSES: usize = 10_000;

/// Counts refused attempts by address, each in a window of its own that begins with the first of them.
pub struct Attempts {
    most: u32,
    window: Duration,
    by_address: HashMap<IpAddr, Count>,
    /// Those of addresses beyond [`MAX_ADDRESSES`].
    others: Count,
    /// How many were counted with those since that was last asked.
    overflows: u64,
}

#[derive(Clone, Copy)]
struct Count {
    refused: u32,
    since: Instant,
}

impl Attempts {
    /// None so far; `most` are tolerated within a window.
    pub fn new(most: u32, window: Duration, now: Instant) -> Self {
        Self {
            most,
            window,
            by_address: HashMap::new(),
            others: Count { refused: 0, since: now },
            overflows: 0,
        }
    }

    /// Whether an address was refused too often.
    pub fn are_exhausted(&self, address: IpAddr, now: Instant) -> bool {
        let full = self.by_address.len() >= MAX_ADDRESSES;
        let count = self.by_address.get(&counted_as(address)).or(full.then_some(&self.others));
        count.is_some_and(|count| count.lasts(self.window, now) && count.refused >= self.most)
    }

    /// Notes a refusal; how many there were of this address in the window, with this one.
    pub fn note(&mut self, address: IpAddr, now: Instant) -> u32 {
        let (address, window) = (counted_as(address), self.window);
        if self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&address) {
            self.by_address.retain(|_, count| count.lasts(window, now));
        }
        let full = self.by_address.len() >= MAX_ADDRESSES && !self.by_address.contains_key(&address);
        self.overflows += u64::from(full);
        let fresh = Count { refused: 0, since: now };
        let count = if full { &mut self.others } else { self.by_address.entry(address).or_insert(fresh) };
        if !count.lasts(window, now) {
            *count = fresh;
        }
        count.refused = count.refused.saturating_add(1);
        count.refused
    }

    /// How many refusals found no place of their own since this was last asked.
    pub fn take_overflows(&mut self) -> u64 {
        std::mem::take(&mut self.overflows)
    }
}

impl Count {
    fn lasts(&self, window: Duration, now: Instant) -> bool {
        now < self.since + window
    }
}

/// A host has as many IPv6 addresses as it likes, so its network counts.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_mins(1);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn address_is_exhausted_after_so_many_refusals_until_its_window_ends() {
        let start = Instant::now();
        let mut attempts = Attempts::new(3, WINDOW, start);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let at = |seconds| start + Duration::from_secs(seconds);
        let refused: Vec<u32> = (10..13).map(|second| attempts.note(one, at(second))).collect();
        assert_eq!(refused, [1, 2, 3]);
        for (who, second, expected) in
            [(one, 13, true), (other, 13, false), (one, 69, true), (one, 70, false)]
        {
            assert_eq!(attempts.are_exhausted(who, at(second)), expected, "{who} after {second} s");
        }
        assert_eq!(attempts.note(one, at(70)), 1, "another window");
    }

    #[test]
    fn addresses_of_one_host_count_together() {
        let now = Instant::now();
        for (first, second, together) in [
            ("2001:db8::1", "2001:db8::ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
        ] {
            let mut attempts = Attempts::new(1, WINDOW, now);
            attempts.note(address(first), now);
            assert_eq!(attempts.are_exhausted(address(second), now), together, "{first} {second}");
        }
    }

    #[test]
    fn memory_is_bounded_and_addresses_beyond_it_count_together() {
        let now = Instant::now();
        let mut attempts = Attempts::new(2, WINDOW, now);
        let many = u32::try_from(MAX_ADDRESSES).expect("few") + 2;
        for number in 0..many {
            attempts.note(IpAddr::V4(number.into()), now);
        }
        assert_eq!(attempts.by_address.len(), MAX_ADDRESSES);
        assert!(attempts.are_exhausted(IpAddr::V4((many + 1).into()), now));
        assert!(!attempts.are_exhausted(IpAddr::V4(0.into()), now), "it has a count of its own");
        let later = now + WINDOW;
        attempts.note(IpAddr::V4(many.into()), later);
        assert_eq!(attempts.by_address.len(), 1, "old ones make room");
    }
}
