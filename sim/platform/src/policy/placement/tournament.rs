//! The least of many keys, known after every change in O(log n).

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

    fn winner_below(&self, slot: usize) -> u32 {
        let entrant = |child: usize| {
            if child >= self.leaves { (child - self.leaves) as u32 } else { self.winners[child] }
        };
        let (left, right) = (entrant(2 * slot), entrant(2 * slot + 1));
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
            }
        }
    }
}
