//! The least of many keys, known after every change in O(log n); and the next of those below a limit.

/// Inner nodes of a complete binary tree, each holding the index of the least key below it; ties go
/// to the lower index. A key of [`u64::MAX`] is out of the contest.
#[derive(Clone, Debug)]
pub struct Tournament {
    keys: Vec<u64>,
    winners: Vec<u32>,
    leaves: usize,
}

impl Tournament {
    /// `n` keys of zero.
    pub fn new(n: usize) -> Self {
        let leaves = n.next_power_of_two();
        let mut tournament = Self { keys: vec![0; n], winners: vec![0; leaves], leaves };
        for slot in (1..leaves).rev() {
            tournament.winners[slot] = tournament.winner_below(slot);
        }
        tournament
    }

    /// The key of one entrant.
    pub fn key(&self, index: usize) -> u64 {
        self.keys[index]
    }

    /// The entrant with the least key; of equals the first. `None` if every key is out.
    pub fn least(&self) -> Option<u32> {
        let winner = if self.leaves == 1 { 0 } else { self.winners[1] };
        (self.keys[winner as usize] < u64::MAX).then_some(winner)
    }

    /// Changes a key.
    pub fn set(&mut self, index: usize, key: u64) {
        self.keys[index] = key;
        let mut slot = (self.leaves + index) / 2;
        while slot >= 1 {
            let winner = self.winner_below(slot);
            // Another entrant still wins here, with the key it had: nothing changes above.
            if winner == self.winners[slot] && winner as usize != index {
                return;
            }
            self.winners[slot] = winner;
            slot /= 2;
        }
    }

    /// The first entrant from `from` on whose key is at most `limit`, which is not that of who is out:
    /// O(log n), by going up past everything that is above the limit, and down again.
    pub fn next_at_most(&self, from: usize, limit: u64) -> Option<u32> {
        let wins = |slot: usize| {
            let winner = self.entrant(slot) as usize;
            self.keys.get(winner).is_some_and(|&key| key <= limit && key < u64::MAX)
        };
        if from >= self.keys.len() {
            return None;
        }
        let mut slot = self.leaves + from;
        while !wins(slot) {
            // On to the next subtree to the right: up, as long as this one is the right half.
            while slot % 2 == 1 {
                slot /= 2;
            }
            if slot == 0 {
                return None;
            }
            slot += 1;
        }
        while slot < self.leaves {
            slot = if wins(2 * slot) { 2 * slot } else { 2 * slot + 1 };
        }
        Some((slot - self.leaves) as u32)
    }

    /// Who wins at a slot: an inner node, or a leaf.
    fn entrant(&self, slot: usize) -> u32 {
        if slot >= self.leaves { (slot - self.leaves) as u32 } else { self.winners[slot] }
    }

    fn winner_below(&self, slot: usize) -> u32 {
        let (left, right) = (self.entrant(2 * slot), self.entrant(2 * slot + 1));
        match (self.keys.get(left as usize), self.keys.get(right as usize)) {
            (Some(a), Some(b)) if b < a => right,
            (None, Some(_)) => right,
            _ => left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_known_after_every_change() {
        for n in [1, 2, 3, 5, 8, 13] {
            let mut tournament = Tournament::new(n);
            let mut truth = vec![0u64; n];
            let mut state = 7u64;
            for _ in 0..1000 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let index = (state >> 33) as usize % n;
                let key = if state.is_multiple_of(11) { u64::MAX } else { (state >> 20) % 1000 };
                truth[index] = key;
                tournament.set(index, key);
                let least = (0..n).min_by_key(|&i| truth[i]).filter(|&i| truth[i] < u64::MAX);
                assert_eq!(tournament.least(), least.map(|i| i as u32));
                let (from, limit) = ((state >> 50) as usize % n, (state >> 10) % 1100);
                for limit in [limit, u64::MAX] {
                    let next = (from..n).find(|&i| truth[i] <= limit && truth[i] < u64::MAX);
                    assert_eq!(tournament.next_at_most(from, limit), next.map(|i| i as u32));
                }
            }
        }
    }
}
