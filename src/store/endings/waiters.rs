//! The places of those who wait to hear of a status list. Anybody may ask for one, so nobody gets many: who is at one address
//! cannot keep those at others from waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::throttle::network;

/// How many may wait at once; half as many as there may be connections to the authorization server.
pub const NEWS_WAITERS: usize = 2_048;

/// How many of them may be at one address, unless it is said otherwise.
pub const NEWS_WAITERS_PER_ADDRESS: usize = NEWS_WAITERS / 8;

/// The places, and who has them.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// By address; those at which nobody waits are left out.
    at: HashMap<Vec<u8>, usize>,
}

/// Somebody who waits; the place is free again when this is dropped.
#[derive(Debug)]
pub struct Waiter {
    waiters: Arc<Waiters>,
    address: Vec<u8>,
}

impl Waiters {
    /// A place for somebody at an address, where so many may wait at most; an IPv6 address counts as its /64. `None` if there
    /// is none left.
    pub(super) fn place(self: &Arc<Self>, address: IpAddr, per_address: usize) -> Option<Waiter> {
        let address = network(address);
        let mut taken = self.taken();
        let here = taken.at.get(&address).copied().unwrap_or_default();
        if taken.all >= NEWS_WAITERS || here >= per_address {
            return None;
        }
        taken.all += 1;
        taken.at.insert(address.clone(), here + 1);
        Some(Waiter { waiters: Arc::clone(self), address })
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.taken().all
    }

    fn free(&self, address: &[u8]) {
        let mut taken = self.taken();
        taken.all -= 1;
        if let Some(here) = taken.at.get_mut(address) {
            *here -= 1;
            if *here == 0 {
                taken.at.remove(address);
            }
        }
    }

    /// No change is left half-made, so a poisoned lock is as good as a whole one.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters.free(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn no_more_wait_than_there_are_places() {
        let waiters = Arc::new(Waiters::default());
        let at = |number: usize| waiters.place(IpAddr::from([192, 0, 2, u8::try_from(number).expect("few")]), 512);
        let mut all: Vec<_> = (0..NEWS_WAITERS).filter_map(|number| at(number % 200)).collect();
        assert_eq!((all.len(), waiters.count()), (NEWS_WAITERS, NEWS_WAITERS));
        assert!(at(201).is_none());
        all.pop();
        assert!(at(201).is_some());
        drop(all);
        assert!(waiters.taken().all == 0 && waiters.taken().at.is_empty());
    }

    #[test]
    fn who_is_at_one_address_leaves_the_rest_to_others() {
        let waiters = Arc::new(Waiters::default());
        let at = |text: &str| waiters.place(address(text), 2);
        for (mine, same, others) in
            [("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")]
        {
            let places = [at(mine), at(same)];
            assert!(places.iter().all(Option::is_some) && at(mine).is_none() && at(same).is_none());
            assert!(at(others).is_some());
            drop(places);
            assert!(at(mine).is_some());
        }
    }
}
