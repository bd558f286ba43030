//! What one agent has of its limits, over all its connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Tabs that are open and time that was used by all sessions of one agent.
#[derive(Debug, Default)]
pub(super) struct Account {
    tabs: Arc<AtomicUsize>,
    used: Mutex<Duration>,
}

/// One tab's place among those of its agent. Dropped, it is free.
#[derive(Debug)]
pub(super) struct Seat(Arc<AtomicUsize>);

impl Account {
    /// A place for one more tab, or how many there are if that is all.
    pub(super) fn seat(&self, most: usize) -> Result<Seat, usize> {
        let more = |tabs: usize| (tabs < most).then_some(tabs + 1);
        self.tabs.fetch_update(Ordering::AcqRel, Ordering::Acquire, more)?;
        Ok(Seat(Arc::clone(&self.tabs)))
    }

    /// How long its steps have taken so far.
    pub(super) fn used(&self) -> Duration {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a step.
    pub(super) fn spend(&self, time: Duration) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) += time;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_tab_is_gone() {
        let account = Account::default();
        let first = account.seat(2).unwrap();
        let second = account.seat(2).unwrap();
        assert_eq!(account.seat(2).unwrap_err(), 2);
        drop(first);
        assert!(account.seat(2).is_ok());
        drop(second);
        account.spend(Duration::from_millis(2));
        account.spend(Duration::from_millis(3));
        assert_eq!(account.used(), Duration::from_millis(5));
    }
}
