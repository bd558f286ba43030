//! Several sources of the same pages, tried in order.
//!
//! A read that fails, or whose pages have the wrong hash, is tried again at the same source, then at the next. The
//! order is a small state that the reader carries, because reads complete later and in any order.

use std::sync::Arc;

use super::{PageSource, SourceError};
use crate::pager::memory::Page;
use crate::pager::stats::SourceStats;
use crate::template::pages::PageTable;

/// Reads of one source before the next is tried.
const TRIES: u8 = 2;

/// One source and its statistics.
#[derive(Debug)]
pub struct Tier {
    /// Where the pages come from.
    pub source: Arc<dyn PageSource>,
    /// What it has done.
    pub stats: Arc<SourceStats>,
}

/// Sources in the order in which they are tried.
#[derive(Debug)]
pub struct Tiers {
    tiers: Vec<Tier>,
    /// One of them holds only some pages.
    partial: bool,
}

/// Where a read is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Number of the source.
    pub tier: usize,
    tries: u8,
}

impl Attempt {
    /// Beginning with the source of this number.
    #[must_use]
    pub fn at(tier: usize) -> Self {
        Self { tier, tries: 0 }
    }
}

impl Tiers {
    /// At least one.
    #[must_use]
    pub fn new(tiers: Vec<Tier>) -> Self {
        assert!(!tiers.is_empty(), "a template without sources");
        let partial = tiers.iter().any(|tier| tier.source.is_partial());
        Self { tiers, partial }
    }

    /// Whether one of them holds only some pages.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// How many of these pages, from the first on, are best read at once: those of the first source that holds any.
    #[must_use]
    pub fn together(&self, first: u64, count: usize) -> usize {
        if !self.partial {
            return count;
        }
        let held = |tier: &Tier| tier.source.holds(first, count);
        let Some(place) = self.tiers.iter().position(|tier| held(tier) > 0) else { return count };
        // Up to the first page that one before it holds.
        let nearer =
            |at: &usize| self.tiers[..place].iter().any(|tier| tier.source.holds(first + *at as u64, 1) > 0);
        let most = held(&self.tiers[place]);
        (1..most).find(nearer).unwrap_or(most)
    }

    /// Gives pages that a source has delivered to those before it.
    pub fn offer(&self, from: Attempt, first: u64, pages: &[Page]) {
        if self.partial {
            for tier in &self.tiers[..from.tier] {
                tier.source.offer(first, pages);
            }
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Tier] {
        &self.tiers
    }

    /// Where this attempt reads.
    #[must_use]
    pub fn of(&self, attempt: Attempt) -> &Tier {
        &self.tiers[attempt.tier]
    }

    /// Where to try after a failure; `None` when there is nothing left. Who did not answer in time is not asked
    /// again; who has lost its connection, only if nobody else is left.
    #[must_use]
    pub fn next(&self, attempt: Attempt, error: &SourceError) -> Option<Attempt> {
        let last = self.is_last(attempt);
        let again = match error {
            SourceError::Late(_) | SourceError::Full | SourceError::Connecting | SourceError::Elsewhere => {
                false
            }
            SourceError::Down(_) => last,
            _ => true,
        };
        if attempt.tries + 1 < TRIES && again {
            return Some(Attempt { tries: attempt.tries + 1, ..attempt });
        }
        (!last).then(|| Attempt::at(attempt.tier + 1))
    }

    /// Whether a source that could not take a read may take it soon, and nobody else is to be asked meanwhile.
    #[must_use]
    pub fn is_to_wait(&self, attempt: Attempt, error: &SourceError) -> bool {
        match error {
            SourceError::Full | SourceError::Connecting => true,
            SourceError::Down(_) => self.is_last(attempt),
            _ => false,
        }
    }

    /// Whether there is no other source to ask after this one.
    #[must_use]
    pub fn is_last(&self, attempt: Attempt) -> bool {
        attempt.tier + 1 == self.tiers.len()
    }
}

/// Compares pages with the table, unless their source is trusted.
///
/// # Errors
/// The first page that differs.
pub fn check(
    source: &dyn PageSource,
    table: &PageTable,
    first: u64,
    pages: &[Page],
) -> Result<(), SourceError> {
    if source.is_trusted() {
        return Ok(());
    }
    for (number, page) in (first..).zip(pages) {
        if !table.matches(number, page) {
            return Err(SourceError::Hash(number));
        }
    }
    Ok(())
}
